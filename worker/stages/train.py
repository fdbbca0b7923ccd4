"""Stage ``train``: a temporal network learns the classes of a split, from features or together with its backbone."""

from __future__ import annotations

from typing import Any

import torch

from services.stages import TrainParams
from worker.contract import Reporter, Task
from worker.stages.inputs import open_input
from worker.stages.networks import load_from_rgb
from worker.stages.outputs import MODEL_FILE, summary, write_model
from worker.stages.splits import clips_of
from worker.training import checkpoint
from worker.training.distributed import joined
from worker.training.interrupt import interrupt
from worker.training.loop import Loop, seed_everything
from worker.video.survey.manifest import read_manifest


def run(task: Task, params: TrainParams, report: Reporter) -> dict[str, Any]:
    """Train on what the parameters have the network see of clips; writes ``model.pt`` and ``history.json``.

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
        seen = open_input(task, params, manifest, clips, report)
        model = seen.build(params.model, len(manifest.classes))
        for rgb in task.inputs_of("train"):
            load_from_rgb(model, checkpoint.load(rgb.path / MODEL_FILE))
        source = seen.source(params.training, params.seed, world)
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
