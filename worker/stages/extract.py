"""Stage ``extract``: features of equally spaced frames of every clip of a manifest (001, section 4.2)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from models.backbones import Backbone
from services.stages import ExtractParams
from worker.stages.backbone import build_backbone, frame_source
from worker.stages.features import Features, write_features
from worker.stages.finetune import MODEL_FILE
from worker.task import Reporter, Task, write_atomically
from worker.training import checkpoint
from worker.training.loop import seed_everything
from worker.video.dataset import ClipDataset
from worker.video.manifest import read_manifest
from worker.video.transforms import TestTransform

CLIPS_PER_PART = 256
BACKBONE_PREFIX = "backbone."


def run(task: Task, params: ExtractParams, report: Reporter) -> dict[str, Any]:
    """Write ``features.npy``, float32 ``(N, T, D)``, and ``clips.json`` for all N clips of the manifest.

    Finished parts of the clips lie in the state folder, so that a later attempt goes on where this one ends. Each
    clip is a batch of its own: its features depend on no other clip.

    Returns:
        ``clips``, ``frames`` and ``feature_dim``.

    Raises:
        UserError: the backbone's weights do not fit.
        DataError: a clip or its flow is missing or broken.
    """
    manifest = read_manifest(task.input("index").path)
    backbone = _backbone(task, params)
    transform = TestTransform(backbone.input_size, backbone.mean, backbone.std)
    source = frame_source(task, manifest, params, cache_bytes=0)
    dataset = ClipDataset(manifest.clips, source, transform, frames=params.frames, stack=max(1, params.flow_stack))
    parts = []
    for first in range(0, len(dataset), CLIPS_PER_PART):
        path = task.state / f"features-{first:07d}.npy"
        if not path.exists():
            last = min(first + CLIPS_PER_PART, len(dataset))
            _write_part(path, _features(task, backbone, dataset, range(first, last), report))
        parts.append(np.load(path))
        report.progress(min(first + CLIPS_PER_PART, len(dataset)), len(dataset), "clips")
    features = np.concatenate(parts)
    write_features(task.output, manifest.clips, features)
    return {"clips": len(features), "frames": params.frames, "feature_dim": features.shape[2]}


def _backbone(task: Task, params: ExtractParams) -> Backbone:
    seed_everything(params.seed or 0)
    backbone = build_backbone(params.backbone, params.stream, params.flow_stack)
    for trained in task.inputs_of("finetune"):
        state = checkpoint.load(trained.path / MODEL_FILE)
        own = {name: value for name, value in state.items() if name.startswith(BACKBONE_PREFIX)}
        backbone.load_state_dict({name.removeprefix(BACKBONE_PREFIX): value for name, value in own.items()})
    return backbone.to(task.device).eval()


@torch.inference_mode()
def _features(task: Task, backbone: Backbone, dataset: ClipDataset, rows: range, report: Reporter) -> Features:
    """Return the features ``(N, T, D)`` of a part of the clips."""
    loader = DataLoader(
        Subset(dataset, rows),
        batch_size=None,
        num_workers=0 if task.device == "cpu" or task.params.get("flow") else task.threads - 1,
        pin_memory=task.device != "cpu",
    )
    features = []
    for row, (frames, _) in zip(rows, loader, strict=True):
        features.append(backbone(frames.to(task.device, non_blocking=True)).float().cpu().numpy())
        report.progress(row, len(dataset), "clips")
    return np.stack(features)


def _write_part(path: Path, features: Features) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    write_atomically(path, buffer.getvalue())
