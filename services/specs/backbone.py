"""ConvNets that turn frames into features: names, features and sizes, and how one is trained."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.errors import refused
from services.specs.base import Spec
from services.specs.training import FinetuneSpec
from services.specs.weights import BackboneWeights

FeatureForm = Literal["vector", "map"]
Normalization = Literal["weights", "ts_lstm", "video_lstm", "tsn"]

FEATURES: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "tiny": {"pool": (64,), "conv4": (64, 4, 4)},
        "resnet18": {"pool5": (512,), "conv5_2": (512, 7, 7)},
        "resnet101": {"pool5": (2048,), "conv5_2": (2048, 7, 7), "conv5_3": (2048, 7, 7)},
        "vgg16": {"fc7": (4096,), "pool5": (512, 7, 7)},
        "googlenet": {"pool5": (1024,), "inception5b": (1024, 7, 7)},
        "resnet101_v2": {"pool5": (2048,), "conv5_2": (2048, 7, 7), "conv5_3": (2048, 7, 7)},
        "bn_inception": {"pool5": (1024,), "inception_5b": (1024, 7, 7)},
        "efficientnet_lite0": {"pool": (1280,), "conv_head": (1280, 7, 7)},
    }
)
"""Features of each backbone: vectors ``(D,)`` and maps ``(C, H, W)``, the default of each form first."""
PRETRAINED = frozenset({"resnet18", "resnet101", "vgg16", "googlenet", "resnet101_v2", "efficientnet_lite0"})
"""Backbones of whose library `imagenet` weights come; which models of timm have some, timm knows."""
BATCH_NORM = frozenset(FEATURES) - {"vgg16"}
"""Backbones with batch norm; what models of timm have, timm knows."""
MAX_WEIGHTS_BYTES = 2**34
"""Of a file of weights: 16 GiB, several times those of the largest backbone."""
TIMM = "timm:"
TIMM_FEATURES: Mapping[FeatureForm, str] = MappingProxyType({"vector": "pool", "map": "map"})
NAME_PATTERN = rf"^({'|'.join(FEATURES)}|{TIMM}[A-Za-z0-9._-]+)$"


class EndToEndSpec(Spec):
    """Training of backbone and temporal network as one, on a few snippets of each clip (TSN, Relational LSTM)."""

    snippets: Annotated[int, Field(ge=1, le=100)] = 3
    """Frames or flow stacks of a clip in a step of training, one at a random place of each of so many equal parts: 3 in
    TSN, 8 in Relational LSTM."""
    augmentation: bool = True
    """TSN's: multi-scale crop at one of 13 positions, and flip with the x flow inverted."""


class BackboneSpec(Spec):
    """The ConvNet that turns a frame or a flow stack into features."""

    name: Annotated[str, Field(max_length=100, pattern=NAME_PATTERN)] = "resnet101"
    """One of `GET /models`, or `timm:` and the name of any model of timm."""
    feature: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Which of its features the temporal network sees, by name; none takes the first of the form that the network
    asks for: a vector, or a map."""
    weights: BackboneWeights = "none"
    """`none`, `imagenet` (the library's), the absolute path of a state-dict file on the workers, of which a `model.pt`
    of ours is one, or a stage that trains them: `{recipe, dataset, split}` or `{experiment, split, stream, part}`."""
    normalization: Normalization = "weights"
    """Of its input: `weights` is what the library asks for its own weights. The others are the released code's of
    TS-LSTM, VideoLSTM and TSN, for weights from there: blue first for VideoLSTM and TSN, y before x in flow for
    TS-LSTM."""
    finetune: FinetuneSpec | None = FinetuneSpec()
    """None extracts features with the initial weights."""
    end_to_end: EndToEndSpec | None = None
    """Trains it together with the temporal network, from the weights that `weights` and `finetune` give; none trains
    the network on features, which are extracted once."""

    @model_validator(mode="after")
    def _fc6_is_vggs(self) -> BackboneSpec:
        share = None if self.finetune is None else self.finetune.fc6_dropout
        if share is not None and self.name != "vgg16":
            raise refused("finetune.fc6_dropout", share, f"null, since {self.name} has no fc6; vgg16 has")
        return self


def features_of(name: str, form: FeatureForm) -> tuple[str, ...]:
    """Return the names of a backbone's features of one form, the default first."""
    if name.startswith(TIMM):
        return (TIMM_FEATURES[form],)
    axes = 1 if form == "vector" else 3
    return tuple(feature for feature, shape in FEATURES[name].items() if len(shape) == axes)
