"""Stage ``extract``: features of frames of every clip of a manifest (TS-LSTM, sec. 3.1; VideoLSTM, sec. 5.2)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from models.backbones import Backbone
from services.errors import UserError
from services.stages import ExtractParams
from services.stores.files import write_atomically
from worker.contract import Reporter, Task
from worker.stages.backbone import TRAINED, frame_source, trained_backbone
from worker.stages.features import Stored, write_features
from worker.stages.loaders import loader_workers
from worker.stages.outputs import seen_by
from worker.stages.seen import Seen, write_seen
from worker.stages.start import seen_by_file
from worker.training.loader import Loader
from worker.training.loop import seed_everything
from worker.video.input.crops import Stretch
from worker.video.input.dataset import ClipDataset
from worker.video.input.transforms import TestTransform
from worker.video.survey.manifest import read_manifest

PART_BYTES = 64 << 20  # of a part, so that a kill costs seconds of work and a part fits in memory
MAX_BLOCKS_PER_PART = 256


def run(task: Task, params: ExtractParams, report: Reporter) -> dict[str, Any]:
    """Write ``features.npy`` and ``clips.json`` for all N clips of the manifest, and what the weights have seen.

    Vectors are float32, maps float16, which halves what a disk has to hold and to give. Finished parts of the clips lie
    in the state folder, so that a later attempt goes on where this one ends. A clip's features depend on no other clip.

    Returns:
        ``clips``, ``steps`` (of all clips) and ``shape`` (of a step's features).

    Raises:
        UserError: the backbone's weights do not fit, or it has no such feature.
        DataError: a clip or its flow is missing or broken.
    """
    manifest = read_manifest(task.input("index").path)
    seed_everything(params.seed or 0)
    backbone = trained_backbone(task, params).to(task.device).eval()
    transform = (Stretch if params.crop == "stretch" else TestTransform)(backbone.format)
    dataset = ClipDataset(
        manifest.clips,
        frame_source(task, manifest, params, report, cache_bytes=0),
        transform,
        frames=params.frames,
        stack=max(1, params.flow_stack),
        first_seconds=params.first_seconds,
        spacing=params.spacing,
    )
    paths = _parts(task, params, backbone, dataset, report)
    write_features(task.output, manifest.clips, dataset.lengths, (np.load(path, mmap_mode="r") for path in paths))
    write_seen(task.output, _seen(task, params))
    shape = np.load(paths[0], mmap_mode="r").shape[1:]
    return {"clips": len(manifest.clips), "steps": sum(dataset.lengths), "shape": list(shape)}


@torch.inference_mode()
def _parts(task: Task, params: ExtractParams, backbone: Backbone, dataset: ClipDataset, report: Reporter) -> list[Path]:
    """Return the files of the features, part by part; those that an earlier attempt left are not made again."""
    paths, first = [], 0
    read = None
    while first < len(dataset):
        path = task.state / f"features-{first:07d}.npy"
        if path.exists():
            read = None  # what is read next lies behind this part
        else:
            read = read or _inputs(task, params, backbone, dataset, first)
            told = partial(_tell, report, dataset, first)
            _write_part(path, _features(params, backbone, read, told))
        first += _blocks_of(dataset, first, len(np.load(path, mmap_mode="r")))
        paths.append(path)
        _tell(report, dataset, first, 0)
    return paths


def _seen(task: Task, params: ExtractParams) -> Seen:
    """Return what the backbone's weights have seen: those of a file, and of the stage that trained them."""
    seen = seen_by_file(params.backbone)
    for source in task.inputs:
        if source.name in TRAINED:
            seen = seen.then(seen_by(source.path))
    return seen


def _blocks_of(dataset: ClipDataset, first: int, steps: int) -> int:
    """Return how many blocks from one on have so many frames."""
    lengths = accumulate(len(block.frames) for block in dataset.blocks[first:])
    return next(number for number, length in enumerate(lengths, 1) if length >= steps)


def _inputs(
    task: Task, params: ExtractParams, backbone: Backbone, dataset: ClipDataset, first: int
) -> Iterator[Tensor]:
    """Yield the backbone's inputs of all blocks from one on, over the ends of parts."""
    item_bytes = max(len(block.frames) for block in dataset.blocks) * backbone.format.num_bytes
    loader = Loader[Tensor](
        Subset(dataset, range(first, len(dataset))),
        batch_size=None,
        num_workers=loader_workers(task, params.flow, item_bytes),
        pin_memory=task.device != "cpu",
    )
    for block in loader:
        yield dataset.finish(block.to(task.device, non_blocking=True))


def _tell(report: Reporter, dataset: ClipDataset, first: int, done: int) -> None:
    """Report how many clips are done after some blocks from one on."""
    block = first + done
    clips = dataset.blocks[block].clip_index if block < len(dataset) else len(dataset.lengths)
    report.progress(clips, len(dataset.lengths), "clips")


def _features(params: ExtractParams, backbone: Backbone, read: Iterator[Tensor], told: Callable[[int], None]) -> Stored:
    """Return the features ``(m, ...)`` of the next blocks, as many as fill a part; tell of each."""
    parts: list[Stored] = []
    for inputs in read:
        found = backbone.features(inputs, params.feature)
        parts.append(_stored(found, params))
        told(len(parts))
        if (len(parts) + 1) * parts[-1].nbytes > PART_BYTES or len(parts) == MAX_BLOCKS_PER_PART:
            break
    return cast("Stored", np.concatenate(parts))


def _stored(features: Tensor, params: ExtractParams) -> Stored:
    """Return features as they are stored.

    Raises:
        UserError: a value of a map is too large for float16, or no number.
    """
    values = features.to(torch.float16 if features.ndim == 4 else torch.float32)
    if not bool(values.isfinite().all()):
        raise UserError(
            f"backbone.feature: {params.feature} has values up to {float(features.abs().max()):g}, allowed: finite"
            f" ones, below {torch.finfo(values.dtype).max:g}; hint: weights that were trained, or another feature"
        )
    stored: Stored = values.cpu().numpy()
    return stored


def _write_part(path: Path, features: Stored) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    write_atomically(path, buffer.getvalue())
