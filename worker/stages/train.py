"""Stage ``train``: a temporal network learns the classes of a split, from features or together with its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from services.stages import EndToEndParams, TrainParams
from worker.contract import Reporter, Task
from worker.stages.backbone import frame_source
from worker.stages.features import stream_features
from worker.stages.loaders import loader_workers
from worker.stages.networks import build_end_to_end, build_network, load_from_rgb
from worker.stages.outputs import MODEL_FILE, summary, write_model
from worker.stages.splits import clips_of
from worker.training import checkpoint
from worker.training.batches import BatchSource, DatasetSource, FeatureSource, TensorSource, to_device
from worker.training.distributed import World, joined
from worker.training.interrupt import interrupt
from worker.training.loop import Loop, seed_everything
from worker.video.input.crops import MultiScale
from worker.video.input.dataset import CACHE_BYTES
from worker.video.input.protocols import snippet
from worker.video.input.snippets import SnippetDataset
from worker.video.input.transforms import TestTransform
from worker.video.survey.manifest import Clip, Manifest, read_manifest

IN_MEMORY_BYTES = 4 << 30  # features that lie on the device that trains; UCF101's two streams of 2048 numbers fit


def run(task: Task, params: TrainParams, report: Reporter) -> dict[str, Any]:
    """Train on features of one or more streams, or on frames; writes ``model.pt`` and ``history.json``.

    Returns:
        ``epochs``, ``train_loss``, ``train_accuracy``, ``train_clips`` and ``parameters``.

    Raises:
        Interrupted: asked to stop; a checkpoint lies in the state folder.
        UserError: no such split, more segments than frames, a loss that diverges.
        DataError: features of a clip, or the clip itself, are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    clips = clips_of(manifest, params.split, "train")
    device = torch.device(task.device)
    with joined(device) as world:
        if params.end_to_end is None:
            model, source = _on_features(task, params, manifest, clips, device, world)
        else:
            model, source = _on_frames(task, params, params.end_to_end, manifest, clips, world, report)
        history = Loop(
            model.to(device),
            source,
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


def _on_features(
    task: Task, params: TrainParams, manifest: Manifest, clips: Sequence[Clip], device: torch.device, world: World
) -> tuple[nn.Module, BatchSource]:
    features = stream_features(task, params.streams, params.model, clips)
    labels = torch.tensor([clip.label for clip in clips])
    steps = int(features.lengths.min()) if params.snippet is None else params.snippet
    model = build_network(params.model, len(manifest.classes), features.shape, steps)
    batch_size, seed = params.training.batch_size, params.seed
    if params.snippet is None and features.num_bytes <= IN_MEMORY_BYTES:
        inputs = to_device(features.take(np.arange(len(clips))), device)
        return model, TensorSource(inputs, labels.to(device), batch_size, seed, world)
    choose = None if params.snippet is None else partial(snippet, length=params.snippet)
    return model, FeatureSource(features, labels, batch_size, seed, world, choose=choose)


def _on_frames(
    task: Task,
    params: TrainParams,
    frames: EndToEndParams,
    manifest: Manifest,
    clips: Sequence[Clip],
    world: World,
    report: Reporter,
) -> tuple[nn.Module, BatchSource]:
    model, backbone = build_end_to_end(task, frames, params.model, len(manifest.classes))
    for rgb in task.inputs_of("train"):
        load_from_rgb(model, backbone, checkpoint.load(rgb.path / MODEL_FILE))
    batch_bytes = frames.snippets * backbone.format.num_bytes * -(-params.training.batch_size // world.size)
    num_workers = loader_workers(task, frames.flow, batch_bytes)
    dataset = SnippetDataset(
        clips,
        frame_source(task, manifest, frames, report, CACHE_BYTES // max(1, num_workers)),
        MultiScale(backbone.format, flow=frames.stream == "flow")
        if frames.augmentation
        else TestTransform(backbone.format),
        seed=params.seed,
        snippets=frames.snippets,
        stack=max(1, frames.flow_stack),
        first_seconds=frames.first_seconds,
    )
    source = DatasetSource(
        dataset,
        params.training.batch_size,
        params.seed,
        world,
        device=torch.device(task.device),
        num_workers=num_workers,
    )
    return model, source
