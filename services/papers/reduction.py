"""What makes a paper's system smaller than it is: another dataset, a smaller ConvNet, a shorter training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from services.specs import PRETRAINED, FlowAlgorithm

Json = dict[str, Any]


@dataclass(frozen=True)
class Reduction:
    """What is to differ from the paper; None leaves it as it is, and so does what the paper has itself.

    Attributes:
        dataset: in place of the paper's. A network that starts from one trained on another dataset starts from nothing.
        backbone: in place of every ConvNet, with its own first weights.
        epochs: of every training, at a constant rate.
        batch_size: of every training, at the most.
        flow: algorithm of optical flow.
    """

    dataset: str | None = None
    backbone: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    flow: FlowAlgorithm | None = None

    @property
    def reduces(self) -> bool:
        """Whether anything differs from the paper."""
        return self != Reduction()


WHOLE = Reduction()
"""The paper's, as it is."""


def reduced(spec: Json, by: Reduction) -> Json:
    """Return the JSON of a spec as a reduction has it."""
    by = _of_others(spec, by)
    found = dict(spec)
    own = dict(found["flow_stream"] or {})
    places = [place for place in (found, own) if place]
    for place in places:
        for name in ("backbone", "model", "training"):
            if place.get(name) is not None:
                place[name] = dict(place[name])
        if place.get("backbone"):
            _reduce_backbone(place["backbone"], by)
        if place.get("model") and (by.dataset is not None or by.backbone is not None):
            place["model"]["weights"] = "none"
    for training in _trainings(places):
        _reduce_training(training, by)
    if by.dataset is not None:
        found["dataset"] = by.dataset
    if by.flow is not None:
        found["flow"] = {**found["flow"], "algorithm": by.flow, "device": None}
    return found | {"flow_stream": own or None}


def _of_others(spec: Json, by: Reduction) -> Reduction:
    """Return a reduction without what a spec has itself."""
    backbones = {place["backbone"]["name"] for place in (spec, spec["flow_stream"] or {}) if place.get("backbone")}
    return replace(
        by,
        dataset=None if by.dataset == spec["dataset"] else by.dataset,
        backbone=None if backbones == {by.backbone} else by.backbone,
        flow=None if by.flow == spec["flow"]["algorithm"] else by.flow,
    )


def _reduce_backbone(backbone: Json, by: Reduction) -> None:
    if isinstance(backbone["weights"], dict) and (by.dataset is not None or by.backbone is not None):
        backbone["weights"] = "none" if by.backbone is not None else "imagenet"
    if by.backbone is not None:
        weights = backbone["weights"] if by.backbone in PRETRAINED else "none"
        backbone |= {"name": by.backbone, "weights": weights, "feature": None, "normalization": "weights"}
    if backbone["finetune"] is not None:
        backbone["finetune"] = dict(backbone["finetune"])
        if by.backbone not in (None, "vgg16"):
            backbone["finetune"]["fc6_dropout"] = None


def _trainings(places: list[Json]) -> Iterator[Json]:
    for place in places:
        if place.get("training"):
            yield place["training"]
        if place.get("backbone") and place["backbone"]["finetune"]:
            yield place["backbone"]["finetune"]


def _reduce_training(training: Json, by: Reduction) -> None:
    if by.epochs is not None:
        training |= {"epochs": by.epochs, "iterations": None, "milestones": [], "schedule": None}
    if by.batch_size is not None:
        training["batch_size"] = min(by.batch_size, training["batch_size"])
