"""Stage ``train``: a temporal network learns the classes of a split, from features or together with its backbone."""

from __future__ import annotations

from typing import Any

import torch

from services.params import Frames
from services.stages import TrainParams
from worker.contract import Reporter, Task
from worker.stages.backbone import TRAINED
from worker.stages.held_out import held_out_of, trial_of
from worker.stages.inputs import open_input
from worker.stages.networks import load_from_rgb
from worker.stages.outputs import MODEL_FILE, summary, write_model
from worker.stages.seen import Seen, doubt_of, read_seen, seen_beside, seen_now
from worker.stages.splits import divide
from worker.stages.start import seen_by_file, start_network
from worker.training import checkpoint
from worker.training.distributed import joined
from worker.training.interrupt import interrupt
from worker.training.loop import Loop, seed_everything
from worker.video.survey.manifest import read_manifest


def run(task: Task, params: TrainParams, report: Reporter) -> dict[str, Any]:
    """Train on what the parameters have the network see of clips; writes ``model.pt`` and ``history.json``.

    Returns:
        What `summary` says.

    Raises:
        Interrupted: asked to stop; a checkpoint lies in the state folder.
        UserError: no such split, more segments than frames, a loss that diverges.
        DataError: features of a clip, or the clip itself, are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    division = divide(manifest, params.split, params.training, params.seed, params.held_out_by)
    device = torch.device(task.device)
    with joined(device) as world:
        seen = open_input(task, params, manifest, division.train, report)
        model = seen.build(params.model, len(manifest.classes))
        start = start_network(task, params, model)
        for rgb in task.inputs:
            if rgb.name == "train":
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
            held_out=held_out_of(division, params.training, world, trial_of(task, params, manifest, seen, report)),
        ).run()
        before = _seen_by_parts(task, params).then(start.seen)
        if world.leads:
            write_model(task, model, history, before.then(seen_now(manifest, params)))
    doubt = doubt_of(manifest, params, division.held_out, before)
    return summary(model, history, division, params.training, start.dropped) | doubt


def _seen_by_parts(task: Task, params: TrainParams) -> Seen:
    """Return what the backbone that is trained along, that of features, or the rgb network had seen before."""
    seen = seen_by_file(params.input.backbone) if isinstance(params.input, Frames) else Seen()
    for source in task.inputs:
        if source.name in {"train", *TRAINED}:
            seen = seen.then(read_seen(source.path / MODEL_FILE))
        elif source.kind == "extract":
            seen = seen.then(seen_beside(source.path))
    return seen
