"""Stage ``extract``: features of frames of every clip of a manifest (001, section 4.2; 002, section 5.2)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from models.backbones import Backbone
from services.stages import ExtractParams
from worker.stages.backbone import frame_source, trained_backbone
from worker.stages.features import Stored, write_features
from worker.task import Reporter, Task, write_atomically
from worker.training.loop import seed_everything
from worker.video.crops import Stretch
from worker.video.dataset import ClipDataset
from worker.video.manifest import read_manifest
from worker.video.transforms import TestTransform

PART_BYTES = 64 << 20  # of a part, so that a kill costs seconds of work and a part fits in memory
MAX_BLOCKS_PER_PART = 256


def run(task: Task, params: ExtractParams, report: Reporter) -> dict[str, Any]:
    """Write ``features.npy`` and ``clips.json`` for all N clips of the manifest.

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
    transform = (Stretch if params.crop == "stretch" else TestTransform)(
        backbone.input_size, backbone.mean, backbone.std
    )
    dataset = ClipDataset(
        manifest.clips,
        frame_source(task, manifest, params, cache_bytes=0),
        transform,
        frames=params.frames,
        stack=max(1, params.flow_stack),
        first_seconds=params.first_seconds,
    )
    paths = _parts(task, params, backbone, dataset, report)
    write_features(task.output, manifest.clips, dataset.lengths, (np.load(path, mmap_mode="r") for path in paths))
    shape = np.load(paths[0], mmap_mode="r").shape[1:]
    return {"clips": len(manifest.clips), "steps": sum(dataset.lengths), "shape": list(shape)}


def _parts(task: Task, params: ExtractParams, backbone: Backbone, dataset: ClipDataset, report: Reporter) -> list[Path]:
    """Return the files of the features, part by part; those that an earlier attempt left are not made again."""
    blocks, paths, first = dataset.blocks, [], 0
    while first < len(blocks):
        path = task.state / f"features-{first:07d}.npy"
        if not path.exists():
            _write_part(path, _features(task, params, backbone, dataset, first, report))
        steps = len(np.load(path, mmap_mode="r"))
        while steps > 0:
            steps -= len(blocks[first].frames)
            first += 1
        paths.append(path)
        report.progress(blocks[first].place if first < len(blocks) else len(dataset.lengths), *_clips(dataset))
    return paths


@torch.inference_mode()
def _features(
    task: Task, params: ExtractParams, backbone: Backbone, dataset: ClipDataset, first: int, report: Reporter
) -> Stored:
    """Return the features ``(m, ...)`` of as many blocks as fill a part."""
    rows = range(first, min(first + MAX_BLOCKS_PER_PART, len(dataset)))
    loader = DataLoader(
        Subset(dataset, rows),
        batch_size=None,
        num_workers=0 if task.device == "cpu" or params.flow is not None else task.threads - 1,
        pin_memory=task.device != "cpu",
    )
    parts, num_bytes = [], 0
    for row, frames in zip(rows, loader, strict=False):
        found = backbone.features(frames.to(task.device, non_blocking=True), params.feature)
        parts.append(found.to(torch.float16 if found.ndim == 4 else torch.float32).cpu().numpy())
        report.progress(dataset.blocks[row].place, *_clips(dataset))
        num_bytes += parts[-1].nbytes
        if num_bytes + parts[-1].nbytes > PART_BYTES:
            break
    return np.concatenate(parts)


def _clips(dataset: ClipDataset) -> tuple[int, str]:
    return len(dataset.lengths), "clips"


def _write_part(path: Path, features: Stored) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    write_atomically(path, buffer.getvalue())
