"""The words that say how a number was measured; what is measured alike is ranked together."""

from __future__ import annotations

from services.specs import FLOW_SHORT_SIDE, Crops, ExperimentSpec, FlowSpec

CROP_NAMES: dict[Crops, str] = {
    "center": "centre crop",
    "stretch": "stretched frame",
    "five": "5 crops",
    "ten": "10 crops",
}


def protocol(spec: ExperimentSpec, stream: str) -> str:
    """Return how a number was measured, in one line; numbers are ranked beside equal lines only.

    Example: ``25 frames, centre crop, probabilities, last epoch; flow tvl1 +-20, stack 10``.
    """
    look = spec.evaluation
    frames = f"{look.frames} frames" if look.snippet is None else f"{look.frames} snippets of {look.snippet} frames"
    frames += f" at {look.positions} positions" if look.positions > 1 else ""
    frames += f" of the first {look.first_seconds:g} s" if look.first_seconds is not None else ""
    line = f"{frames}, {CROP_NAMES[look.crops]}, {look.average}, last epoch"
    if stream == "rgb" and not spec.model.sees_both:
        # Spaced frames keep a margin for the stacks of flow around them; snippets are of all frames.
        return line if look.snippet is not None else f"{line}; frames of stack {spec.flow.stack}"
    return f"{line}; {_flow_protocol(spec.flow)}, stack {spec.flow.stack}"


def _flow_protocol(flow: FlowSpec) -> str:
    """Name what changes the bytes that a network sees; where flow is stored does not, how it is packed may."""
    algorithm = {"raft": f"raft-{flow.raft}", "tvl1": "tvl1-gpu" if flow.chosen_device == "gpu" else "tvl1"}
    line = f"flow {algorithm.get(flow.algorithm, flow.algorithm)} +-{flow.bound:g}"
    if flow.resize != FLOW_SHORT_SIDE:
        line += " full size" if flow.resize is None else f" short side {flow.resize}"
    line += " own weights" if flow.algorithm == "raft" and flow.weights != "default" else ""
    line += " frame min-max" if flow.quantization == "frame_min_max" else ""
    return line + (f" jpeg {flow.jpeg_quality}" if flow.storage == "stored" and flow.codec == "jpeg" else "")
