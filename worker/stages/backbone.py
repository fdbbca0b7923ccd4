"""The backbone of a stage: its first weights, and where its frames or flow stacks come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models import backbones
from models.backbones import Backbone
from models.backbones.format import NORMALIZATIONS
from models.backbones.weights import load_weights
from services.errors import DataError, UserError
from services.params import BackboneParams, Frames, StreamParams
from services.planning.linter import frame_counts
from services.specs import Stream
from services.stages import ExtractParams
from worker.contract import Reporter, Task
from worker.stages.flow_shard import FRAME_COUNTS_FILE
from worker.stages.outputs import read_model
from worker.video.decoding.limits import Limits
from worker.video.input.dataset import CACHE_BYTES, ClipSource, FlowSource, RgbSource
from worker.video.input.frames import STORE_FOLDER, FrameStore
from worker.video.input.on_the_fly import OnTheFlyFlow
from worker.video.mapped import Use
from worker.video.survey.manifest import Manifest
from worker.weights import library_weights, read_state_dict

TRAINED = ("finetune", "weights")
"""Names of the inputs whose weights a backbone takes: of its own `finetune` stage, or of another experiment's stage."""


def build_backbone(params: BackboneParams, stream: Stream, flow_stack: int) -> Backbone:
    """Build the backbone of a spec with its first weights, on the processor.

    Raises:
        UserError: there is no such backbone; the weights cannot be read, or are another architecture's.
    """
    channels = 3 if stream == "rgb" else 2 * flow_stack
    try:
        backbone = backbones.build(params.name, channels=channels)
    except ValueError as error:
        raise UserError(f"backbone.name: {error}") from error
    if params.normalization != "weights":
        normalization = NORMALIZATIONS[params.normalization]
        backbone.format = normalization.of(backbone.format.size, channels)
        backbone.turned = normalization.turned(channels)
    try:
        weights = _first_weights(params)
        if weights is not None:
            load_weights(backbone, weights)
    except ValueError as error:
        raise UserError(f"backbone.weights: {params.weights}: {error}; expected those of {params.name}") from error
    return backbone


def trained_backbone(task: Task, params: ExtractParams | Frames) -> Backbone:
    """Build the backbone of a spec with the weights of the stage that trained it, or else with its first ones.

    Raises:
        UserError: the weights cannot be read, or are another architecture's; the backbone has no such feature.
    """
    backbone = build_backbone(params.backbone, params.stream, params.flow_stack)
    if params.feature not in backbone.taps:
        raise UserError(
            f"backbone.feature: got {params.feature}, allowed: {', '.join(backbone.taps)} of {params.backbone.name}"
        )
    for trained in task.inputs:
        if trained.name in TRAINED:
            try:
                load_weights(backbone, read_model(trained.path))
            except ValueError as error:
                raise UserError(f"backbone.weights: stage {trained.key[:12]}: {error}") from error
    return backbone


def _first_weights(params: BackboneParams) -> Mapping[str, Tensor] | None:
    if params.weights == "none":
        return None
    if params.weights == "imagenet":
        backbones.require_pretrained(params.name)
        with library_weights("backbone.weights", f"imagenet weights of {params.name}"):
            return backbones.pretrained_weights(params.name)
    return read_state_dict(Path(params.weights), "backbone.weights")


def frame_source(
    task: Task,
    manifest: Manifest,
    params: StreamParams,
    report: Reporter,
    cache_bytes: int = CACHE_BYTES,
) -> ClipSource:
    """Return what reads the frames or flow stacks of a clip: from its file, from stored flow, or computed now.

    A clip is decoded in parallel where there are no loader processes (`loader_workers`). What stays open or in memory
    by count of clips follows their use: without ``cache_bytes`` each is read once.

    Raises:
        DataError: stored flow is of other frames than the manifest's.
    """
    use: Use = "again" if cache_bytes else "once"
    if params.stream == "rgb":
        folder, store_bytes = task.data_root / STORE_FOLDER, task.frame_cache_bytes
        store = FrameStore(folder, store_bytes, use) if store_bytes else None
        threads = task.threads if task.device == "cpu" else 1
        return RgbSource(manifest.root, cache_bytes, store, threads, Limits.of(task))
    if params.flow is not None:
        return OnTheFlyFlow(
            manifest.root,
            params.flow,
            params.flow_stack,
            torch.device(task.device),
            task.threads,
            use=use,
            limits=Limits.of(task),
            warn=report.warning,
        )
    folders = [entry.path for entry in (*task.inputs_of("flow"), *task.inputs_of("gpu_flow"))]
    _require_frame_counts(manifest, folders)
    return FlowSource(folders, params.flow_stack, use)


def _require_frame_counts(manifest: Manifest, folders: Iterable[Path]) -> None:
    """Refuse flow that was computed from other frames than the rgb stream has, before a network sees either.

    A stage of before did not say; then `FlowSource` finds it out clip by clip.
    """
    flow: dict[str, int] = {}
    for folder in folders:
        file = folder / FRAME_COUNTS_FILE
        flow |= json.loads(file.read_bytes()) if file.is_file() else {}
    wrong = [finding.sentence for finding in frame_counts({clip.id: clip.frames for clip in manifest.clips}, flow)]
    if wrong:
        raise DataError(f"flow: {'; '.join(wrong)}")
