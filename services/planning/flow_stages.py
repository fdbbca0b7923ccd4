"""The stages that compute optical flow, by what a spec says of it."""

from __future__ import annotations

from collections.abc import Iterator

from services.params import FlowMethodParams
from services.planning.weights_file import file_digest
from services.specs import FlowSpec
from services.stages import FlowParams, StageKind


def method(flow: FlowSpec) -> FlowMethodParams:
    """Return how two frames become bytes of motion.

    Raises:
        InvalidRequest: the file of RAFT's weights is not where the spec says.
    """
    params = FlowMethodParams(
        algorithm=flow.algorithm, bound=flow.bound, quantization=flow.quantization, resize=flow.resize
    )
    if flow.algorithm != "raft":
        return params
    found = {"raft": flow.raft, "weights": flow.weights, "digest": file_digest("flow.weights", flow.weights)}
    return params.model_copy(update=found)


def shards(flow: FlowSpec, by: FlowMethodParams) -> Iterator[tuple[StageKind, FlowParams, str]]:
    """Yield kind, parameters and label of the stage of each shard."""
    kind: StageKind = "gpu_flow" if flow.chosen_device == "gpu" else "flow"
    for shard in range(flow.shards):
        params = FlowParams(
            **dict(by),
            codec=flow.codec,
            jpeg_quality=flow.jpeg_quality if flow.codec == "jpeg" else None,
            shard=shard,
            shards=flow.shards,
        )
        yield kind, params, f"flow {flow.algorithm}, shard {shard + 1} of {flow.shards}"
