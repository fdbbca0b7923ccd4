"""The backbone of a stage: its first weights, and where its frames or flow stacks come from."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models import backbones
from models.backbones import Backbone
from models.backbones.normalization import NORMALIZATIONS
from models.backbones.weights import load_weights, unwrapped
from services.errors import UserError
from services.specs import Stream
from services.stages import BackboneParams, EndToEndParams, ExtractParams, FinetuneParams
from worker.stages.outputs import MODEL_FILE
from worker.task import Reporter, Task
from worker.training import checkpoint
from worker.video.dataset import CACHE_BYTES, FlowSource, RgbSource, Source
from worker.video.flow.on_the_fly import OnTheFlyFlow
from worker.video.frames import STORE_FOLDER, FrameStore
from worker.video.limits import Limits
from worker.video.manifest import Manifest
from worker.video.mapped import Use

BACKBONE_PREFIX = "backbone."  # of its weights' names in a fine-tuned ConvNet


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
        backbone.mean, backbone.std = normalization.of(channels)
        backbone.turned = normalization.turned(channels)
    try:
        weights = _first_weights(params)
        if weights is not None:
            load_weights(backbone, weights)
    except ValueError as error:
        raise UserError(f"backbone.weights: {params.weights}: {error}") from error
    return backbone


def trained_backbone(task: Task, params: ExtractParams | EndToEndParams) -> Backbone:
    """Build the backbone of a spec with the weights of a `finetune` stage where there is one, else its first ones.

    Raises:
        UserError: the weights cannot be read, or are another architecture's; the backbone has no such feature.
    """
    backbone = build_backbone(params.backbone, params.stream, params.flow_stack)
    if params.feature not in backbone.taps:
        raise UserError(
            f"backbone.feature: got {params.feature}, allowed: {', '.join(backbone.taps)} of {params.backbone.name}"
        )
    for trained in task.inputs_of("finetune"):
        state = checkpoint.load(trained.path / MODEL_FILE)
        own = {name: value for name, value in state.items() if name.startswith(BACKBONE_PREFIX)}
        backbone.load_state_dict({name.removeprefix(BACKBONE_PREFIX): value for name, value in own.items()})
    return backbone


def _first_weights(params: BackboneParams) -> Mapping[str, Tensor] | None:
    if params.weights == "none":
        return None
    if params.weights == "imagenet":
        try:
            return backbones.pretrained_weights(params.name)
        except OSError as error:  # urllib's URLError is one
            raise UserError(
                f"backbone.weights: imagenet weights of {params.name} cannot be fetched: {error}"
            ) from error
    return _read_weights(Path(params.weights))


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        state = unwrapped(load_file(path) if path.suffix == ".safetensors" else checkpoint.load(path))
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"backbone.weights: {path} cannot be read as a state dict: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"backbone.weights: {path} holds no state dict, which maps names to tensors")
    return state


def frame_source(
    task: Task,
    manifest: Manifest,
    params: FinetuneParams | ExtractParams | EndToEndParams,
    report: Reporter,
    cache_bytes: int = CACHE_BYTES,
) -> Source:
    """Return what reads the frames or flow stacks of a clip: from its file, from stored flow, or computed now.

    A clip is decoded in parallel where there are no loader processes (`loader_workers`). What stays open or in memory
    by count of clips follows their use: without ``cache_bytes`` each is read once.
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
    stored = (*task.inputs_of("flow"), *task.inputs_of("gpu_flow"))
    return FlowSource([entry.path for entry in stored], params.flow_stack, use)
