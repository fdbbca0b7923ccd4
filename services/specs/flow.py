"""Optical flow: which algorithm, where it runs, how it is stored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.errors import refused
from services.specs.base import Spec

FlowAlgorithm = Literal["tvl1", "brox", "farneback", "dis", "raft"]
FlowDevice = Literal["cpu", "gpu"]
FlowQuantization = Literal["linear", "frame_min_max"]
FlowStorage = Literal["stored", "on_the_fly"]
FlowCodec = Literal["raw", "png", "jpeg"]
RaftVariant = Literal["large", "small"]

FLOW_DEVICES: dict[FlowAlgorithm, tuple[FlowDevice, ...]] = {
    "tvl1": ("cpu", "gpu"),
    "brox": ("gpu",),
    "farneback": ("cpu",),
    "dis": ("cpu",),
    "raft": ("gpu",),
}
"""Where each algorithm is at home, its default first; what is at home on a GPU runs slowly where there is none."""
FLOW_SHORT_SIDE = 256
"""Short side of the frames from which flow is computed, in pixels, unless they are smaller: TSN's are 340x256."""


class FlowSpec(Spec):
    """Optical flow and its quantisation: clipped to +-bound pixels, mapped linearly to 0..255 (TSN, TS-LSTM)."""

    algorithm: FlowAlgorithm = "tvl1"
    """`tvl1` (Zach et al. 2007), `brox` (Brox et al. 2004), `farneback` (2003), `dis` (Kroeger et al. 2016), `raft`
    (Teed and Deng 2020)."""
    device: FlowDevice | None = None
    """`cpu` or `gpu`; `tvl1` has a version for each (OpenCV's and ours), whose fields differ slightly. None takes
    `gpu` for on-the-fly flow and else the algorithm's default: `cpu` for `tvl1`, `farneback`, `dis`."""
    raft: RaftVariant = "large"
    """torchvision's model, for the algorithm `raft`."""
    weights: Annotated[str, Field(min_length=1, max_length=1000)] = "default"
    """Weights of `raft`: torchvision's `default`, or the absolute path of a state-dict file on the workers."""
    quantization: FlowQuantization = "linear"
    """`frame_min_max` scales each field by its own range, as TS-LSTM's code does."""
    storage: FlowStorage = "stored"
    """`on_the_fly` computes stacks on a GPU when a network asks for them and stores nothing."""
    codec: FlowCodec = "raw"
    """How stored flow is packed: `raw` and `png` lose nothing."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of the codec `jpeg`."""
    bound: Annotated[float, Field(gt=0, le=128)] = 20.0
    """In pixels of the frames that flow is computed from, so that what it clips depends on their size: see `resize`."""
    resize: Annotated[int, Field(ge=32, le=4320)] | None = FLOW_SHORT_SIDE
    """Short side in pixels to which larger frames are brought before flow is computed. Smaller ones, such as the
    papers' 320x240, stay as they are; none keeps every size."""
    stack: Annotated[int, Field(ge=1, le=32)] = 10
    """L, the number of flow fields in a stack; the network sees 2 L channels."""
    shards: Annotated[int, Field(ge=1, le=1024)] = 2
    """Stages over which the clips of a dataset are spread."""

    @property
    def chosen_device(self) -> FlowDevice:
        """Where the flow is computed."""
        if self.device is not None:
            return self.device
        return "gpu" if self.storage == "on_the_fly" else FLOW_DEVICES[self.algorithm][0]

    @model_validator(mode="after")
    def _device_has_algorithm(self) -> FlowSpec:
        devices = FLOW_DEVICES[self.algorithm]
        if self.storage == "on_the_fly" and (self.device == "cpu" or "gpu" not in devices):
            cause = "flow.device cpu" if self.device == "cpu" else f"flow.algorithm {self.algorithm}"
            raise refused("storage", self.storage, f"stored with {cause}")
        if self.chosen_device not in devices:
            raise refused("device", self.chosen_device, f"{' or '.join(devices)} for {self.algorithm}")
        return self
