"""Stage ``train``: a temporal network learns the classes of a split from features that lie in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import models
from services.errors import UserError
from services.specs import ModelSpec
from services.stages import TrainParams
from worker.stages.features import read_streams
from worker.stages.finetune import summary, write_model
from worker.stages.splits import clips_of
from worker.task import Reporter, Task
from worker.training.batches import TensorSource
from worker.training.distributed import joined
from worker.training.interrupt import interrupt
from worker.training.loop import Loop, seed_everything
from worker.video.manifest import read_manifest


def run(task: Task, params: TrainParams, report: Reporter) -> dict[str, Any]:
    """Train on the features of one or more streams, side by side; writes ``model.pt`` and ``history.json``.

    Returns:
        ``epochs``, ``train_loss``, ``train_accuracy``, ``train_clips`` and ``parameters``.

    Raises:
        Interrupted: asked to stop; a checkpoint lies in the state folder.
        UserError: no such split, more segments than frames, a loss that diverges.
        DataError: features of a clip are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    clips = clips_of(manifest, params.split, "train")
    device = torch.device(task.device)
    features = torch.from_numpy(read_streams(task, params.streams, clips)).to(device)
    labels = torch.tensor([clip.label for clip in clips], device=device)
    model = build_model(params.model, len(manifest.classes), tuple(features.shape)).to(device)
    with joined(device) as world:
        history = Loop(
            model,
            TensorSource(features, labels, params.training.batch_size, params.seed, world),
            params.training,
            seed=params.seed,
            state=task.state,
            report=report,
            should_stop=lambda: interrupt.requested,
            world=world,
        ).run()
        if world.leads:
            write_model(task, model, history)
    return summary(model, history, len(clips))


def build_model(spec: ModelSpec, num_classes: int, shape: tuple[int, ...]) -> nn.Module:
    """Build the network of a spec for features of a shape ``(N, T, D)``.

    Raises:
        UserError: the features have fewer steps than the network needs.
    """
    options = spec.model_dump(exclude={"kind"})
    segments = options.get("segments", 1)
    if segments > shape[1]:
        raise UserError(f"model.segments: got {segments}, allowed: 1 to the {shape[1]} frames of the features")
    return models.build(spec.kind, num_classes=num_classes, feature_dim=shape[2], **options)
