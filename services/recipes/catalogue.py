"""The recipes by name, and how a submitted body that names one becomes a spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.errors import InvalidRequest, nearest
from services.recipes import demo, memory, relational_lstm, ts_lstm, video_lstm
from services.recipes import temporal_inception as inception
from services.recipes.deviations import DEVIATIONS
from services.specs import ExperimentSpec


@dataclass(frozen=True)
class Recipe:
    """A named spec; ``source`` says where its numbers come from."""

    name: str
    title: str
    source: str
    spec: ExperimentSpec

    @property
    def deviations(self) -> Mapping[str, str]:
        """Where it differs from its paper, in words, by name."""
        return DEVIATIONS.get(self.name, {})


def _recipes() -> tuple[Recipe, ...]:
    paper = "TS-LSTM and Temporal-Inception (arXiv 1703.10667)"
    third = "Relational LSTM (arXiv 1811.07059), sec. 5.2 and Table 5"
    memorising = "Memory-augmented temporal dynamic learning (arXiv 1904.13080), Implementation Details"
    return (
        Recipe("ts_lstm_ucf101", "TS-LSTM on UCF101", f"{paper}, sec. 3.4.1 and 4.2", ts_lstm.ucf101()),
        Recipe("ts_lstm_hmdb51", "TS-LSTM on HMDB51", f"{paper}, sec. 3.4.1 and 4.2", ts_lstm.hmdb51()),
        Recipe("two_stream_ucf101", "Two-stream frame average on UCF101", f"{paper}, Table 2", ts_lstm.two_stream()),
        Recipe(
            "two_stream_hmdb51", "Two-stream frame average on HMDB51", f"{paper}, Table 2", ts_lstm.two_stream_hmdb51()
        ),
        Recipe(
            "temporal_inception_ucf101",
            "Temporal-Inception on UCF101",
            f"{paper}, sec. 3.4.1 and 4.3",
            inception.ucf101(),
        ),
        Recipe(
            "temporal_inception_hmdb51",
            "Temporal-Inception on HMDB51",
            f"{paper}, sec. 3.4.1 and 4.3",
            inception.hmdb51(),
        ),
        *_video_lstm(),
        Recipe("relational_lstm_ucf101", "Relational LSTM on UCF101", third, relational_lstm.ucf101()),
        Recipe("relational_lstm_hmdb51", "Relational LSTM on HMDB51", third, relational_lstm.hmdb51()),
        *_relational_lstm(),
        Recipe("memory_ucf101", "Memory network on UCF101", memorising, memory.ucf101()),
        Recipe("memory_hmdb51", "Memory network on HMDB51", memorising, memory.hmdb51()),
        *_memory_vgg16(),
        *_tsn(),
        Recipe("demo_ts_lstm", "TS-LSTM on generated clips", "ours, for a first look", demo.ts_lstm()),
        Recipe("demo_mean_pooling", "Mean pooling on generated clips", "ours, for a first look", demo.mean_pooling()),
    )


def _video_lstm() -> tuple[Recipe, ...]:
    paper = "VideoLSTM (arXiv 1607.01794)"
    found = (
        Recipe("video_lstm_ucf101", "VideoLSTM on UCF101", f"{paper}, Table 3", video_lstm.video_lstm()),
        Recipe("conv_alstm_ucf101", "ConvLSTM with attention on UCF101", f"{paper}, Table 1", video_lstm.conv_alstm()),
        Recipe("conv_lstm_ucf101", "ConvLSTM on UCF101", f"{paper}, Table 1", video_lstm.conv_lstm()),
        Recipe("alstm_ucf101", "LSTM with attention on UCF101", f"{paper}, Table 1", video_lstm.alstm()),
        Recipe("lstm_ucf101", "LSTM on UCF101", f"{paper}, Table 1", video_lstm.lstm()),
        Recipe("convnet_ucf101", "VGG-16 on UCF101", f"{paper}, Table 1", video_lstm.convnet()),
        Recipe("motion_alstm_ucf101", "ALSTM with motion on UCF101", f"{paper}, Table 2", video_lstm.motion_alstm()),
    )
    parts = Recipe(
        "video_lstm_assembled_ucf101", "VideoLSTM from trained parts on UCF101", paper, video_lstm.assembled()
    )
    return (*found, *map(_on_hmdb51, found), parts)


def _on_hmdb51(recipe: Recipe) -> Recipe:
    """Return a recipe of VideoLSTM's for HMDB51."""
    name, title = recipe.name.replace("ucf101", "hmdb51"), recipe.title.replace("UCF101", "HMDB51")
    return Recipe(name, title, f"{recipe.source}; sec. 5.2", video_lstm.on_hmdb51(recipe.spec, recipe.name))


def _relational_lstm() -> tuple[Recipe, ...]:
    paper = "Relational LSTM (arXiv 1811.07059)"
    local, other, alone = (
        relational_lstm.branch("local"),
        relational_lstm.branch("non-local"),
        relational_lstm.standalone(),
    )
    return (
        Recipe("relational_lstm_local_ucf101", "Local branch on UCF101", f"{paper}, Table 3", local),
        Recipe("relational_lstm_nonlocal_ucf101", "Non-local branch on UCF101", f"{paper}, Table 3", other),
        Recipe("relational_lstm_standalone_ucf101", "Relational LSTM alone on UCF101", f"{paper}, Table 1", alone),
        Recipe("tsn_resnet101_v2_ucf101", "TSN on ResNet-101-v2, UCF101", f"{paper}, Table 1", relational_lstm.tsn()),
    )


def _memory_vgg16() -> tuple[Recipe, ...]:
    paper = "Memory-augmented temporal dynamic learning (arXiv 1904.13080), Tables 2 and 3"
    return tuple(
        Recipe(f"memory_{backbone}_{dataset}", f"Memory network on {words}, {dataset.upper()}", paper, spec)
        for backbone, words, stack in (("vgg16", "VGG-16", 1), ("vgg16_tsn", "VGG-16 with TSN", 5))
        for dataset in ("ucf101", "hmdb51")
        for spec in (memory.vgg16(dataset, stack),)
    )


def _tsn() -> tuple[Recipe, ...]:
    source = "TSN's released solvers and code"
    inception, title = memory.tsn_bn_inception, "Temporal Segment Network"
    return (
        Recipe("tsn_ucf101", f"{title} on UCF101", source, memory.tsn()),
        Recipe("tsn_hmdb51", f"{title} on HMDB51", source, memory.tsn_hmdb51()),
        Recipe("tsn_bn_inception_ucf101", f"{title} on BN-Inception, UCF101", source, inception("ucf101")),
        Recipe("tsn_bn_inception_hmdb51", f"{title} on BN-Inception, HMDB51", source, inception("hmdb51")),
    )


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}


def resolve(body: Mapping[str, Any]) -> tuple[ExperimentSpec, str | None]:
    """Return the spec of a submitted body, and the recipe that it names.

    A body with ``recipe`` is that recipe's spec with the body's other fields laid over it: objects are merged, other
    values replace. Another ``kind`` of model or schedule replaces the recipe's as a whole, and under another ``name``
    of optimizer or backbone falls away what the recipe's alone reads; ``epochs`` replaces its ``iterations``,
    ``milestones`` its ``schedule``, and the other way round. Without the flow stream what the recipe says of its own
    network falls away.

    Raises:
        InvalidRequest: no recipe has that name.
        pydantic.ValidationError: the result is not a spec.
    """
    if "recipe" not in body:
        return _as_written(body), None
    name = body["recipe"]
    if not isinstance(name, str) or name not in RECIPES:
        raise InvalidRequest("recipe", name, nearest(str(name), RECIPES))
    changes = {field: value for field, value in body.items() if field != "recipe"}
    base = RECIPES[name].spec.model_dump(mode="json")
    streams = changes.get("streams")
    if isinstance(streams, list) and "flow" not in streams and "flow_stream" not in changes:
        base["flow_stream"] = None
    return _as_written(laid_over(base, changes)), name


def _as_written(body: Mapping[str, Any]) -> ExperimentSpec:
    """Return a JSON body as a spec, of the types that it has: a text is no number, true no 1."""
    return ExperimentSpec.model_validate_json(json.dumps(body), strict=True)


IN_PLACE_OF: dict[str, tuple[str, Any]] = {
    "epochs": ("iterations", None),
    "milestones": ("schedule", None),
    "schedule": ("milestones", ()),
}
"""Fields that say the same in another way, and what they are where they do not say it."""


GOES_WITH_NAME: Mapping[str, Mapping[str, Any]] = {
    "optimizer": {"decay": 0.9, "epsilon": None, "epsilon_inside_root": False},  # of rmsprop alone
    "backbone": {"finetune": {"fc6_dropout": None}},  # of vgg16 alone
}
"""What of a part the one alone reads that its `name` names, and what it is again where another is named."""


def laid_over(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with changes over it, as `resolve` lays them over a recipe."""
    merged = dict(base)
    for other, unsaid in (IN_PLACE_OF[field] for field in changes if field in IN_PLACE_OF):
        if other in merged and other not in changes:
            merged[other] = unsaid
    for field, value in changes.items():
        old = merged.get(field)
        replaced = isinstance(old, dict) and isinstance(value, Mapping)
        if field == "weights":  # of a stage: what names one says nothing of another
            replaced = False
        if (
            isinstance(old, dict)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) != old.get("name")
        ):
            old = _under_another_name(old, GOES_WITH_NAME.get(field, {}))
        same_kind = not isinstance(value, Mapping) or value.get("kind", _kind(old)) == _kind(old)
        merged[field] = laid_over(old, value) if replaced and same_kind and isinstance(old, dict) else value
    return merged


def _under_another_name(part: dict[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a spec without what goes with its name."""
    found = dict(part)
    for field, value in usual.items():
        if isinstance(value, Mapping):
            found[field] = None if found.get(field) is None else _under_another_name(found[field], value)
        elif field in found:
            found[field] = value
    return found


def _kind(value: object) -> object:
    return value.get("kind") if isinstance(value, dict) else None
