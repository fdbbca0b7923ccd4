"""Dense optical flow: five algorithms behind one interface, quantisation and storage.

    opencv        `tvl1`, `farneback` and `dis` on a CPU, one pair of frames at a time
    batched       `tvl1`, `brox` and `raft` on batches of pairs, on a GPU or, slowly, a CPU (torch)
    quantization  between pixels and bytes
    saturation    how much lies beyond the bound
    storage       clips of quantised flow on disk: codecs, atomic and content-addressed
    on_the_fly    stacks computed when a network asks for them, nothing stored (torch)
    picture       the colour wheel

This page names only what needs no torch, so that the `flow` stage stays light.
"""

from worker.video.flow.opencv import Estimator, Field, Grey, estimator, optical_flow
from worker.video.flow.quantization import quantize
from worker.video.flow.storage import FlowReader, open_flow

__all__ = [
    "Estimator",
    "Field",
    "FlowReader",
    "Grey",
    "estimator",
    "open_flow",
    "optical_flow",
    "quantize",
]
