"""Recipes cut down to what two cores train in a second: few clips, one split, one seed, one epoch, narrow layers.

The structure stays: streams, flow, kinds of networks and stacked layers, segments, snippets, optimisers, schedules,
augmentation, what a network starts from, frames and views of a clip, fusion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.datasets.motion_shapes import CLASSES, MotionShapesParams, clip_path
from services.recipes import RECIPES, Recipe
from services.specs import BackboneSpec, ExperimentSpec, Network, StageWeights, TrainingSpec
from worker.video.generated.motion_shapes import generate_motion_shapes

DATASETS = ("ucf101", "hmdb51")
"""Names that the recipes train on; the clips are generated, and the same for both."""
CLIPS = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=30)
GROUPS = {"train": (8, 9), "test": (1,)}
NUM_CLASSES = 3
WIDTHS = {"hidden": 16, "attention_dim": 8, "fc_dim": 16, "controller": 16}
"""Of layers whose width is an option of a network."""
BATCH = 16


def make_clips(folder: Path) -> Path:
    """Generate the clips and return the folder that they lie in."""
    root, _ = generate_motion_shapes(CLIPS, folder, lambda _done, _total: None)
    return root


def write_lists(folder: Path) -> None:
    """Write lists of one split of few of them, in UCF101's layout."""
    labels = {name: label for label, name in enumerate(CLASSES[:NUM_CLASSES], start=1)}
    folder.mkdir()
    (folder / "classInd.txt").write_text("".join(f"{label} {name}\n" for name, label in labels.items()))
    for part, groups in GROUPS.items():
        named = [(clip_path(name, group, 1), label) for name, label in labels.items() for group in groups]
        lines = [f"{path} {label}\n" if part == "train" else f"{path}\n" for path, label in named]
        (folder / f"{part}list01.txt").write_text("".join(lines))


def in_order() -> Iterator[Recipe]:
    """Yield all recipes, each after those whose stages it starts from."""
    done: set[str] = set()
    waiting = list(RECIPES.values())
    while waiting:
        recipe = waiting.pop(0)
        if sources(recipe.spec) <= done:
            done.add(recipe.name)
            yield recipe
        else:
            waiting.append(recipe)


def sources(spec: ExperimentSpec) -> set[str]:
    """Return the recipes whose stages a spec starts from."""
    weights: list[object] = []
    for network in spec.networks:
        weights += [backbone.weights for backbone in network.backbones.values()]
        weights += network.model.trained_parts
    return {entry.recipe for entry in weights if isinstance(entry, StageWeights) and entry.recipe is not None}


def whole(recipe: Recipe) -> dict[str, Any]:
    """Return a body that submits a recipe as it is, on one split."""
    dataset = recipe.spec.dataset if recipe.spec.dataset in DATASETS else DATASETS[0]
    return {"recipe": recipe.name, "dataset": dataset, "splits": [1], "seeds": [0]}


def reduced(recipe: Recipe, experiments: Mapping[str, str]) -> dict[str, Any]:
    """Return a body that submits a recipe cut down.

    Args:
        recipe: the recipe.
        experiments: ids of recipes that were submitted cut down before, whose stages take the place of the whole ones.
    """
    spec, own = recipe.spec, recipe.spec.flow_stream
    body = {
        **whole(recipe),
        "model": _model(spec.model, experiments),
        "backbone": _backbone(spec.backbone, experiments),
        "training": _training(spec.training),
    }
    if own is not None:
        body["flow_stream"] = {
            **({} if own.model is None else {"model": _model(own.model, experiments)}),
            **({} if own.backbone is None else {"backbone": _backbone(own.backbone, experiments)}),
            **({} if own.training is None else {"training": _training(own.training)}),
        }
    return body


def _training(training: TrainingSpec) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": min(training.batch_size, BATCH)}


def _backbone(backbone: BackboneSpec, experiments: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"name": "tiny", "feature": None, "weights": "none"}
    if isinstance(backbone.weights, StageWeights):
        body["weights"] = _started(backbone.weights, experiments)
    if backbone.finetune is not None:
        body["finetune"] = {**_training(backbone.finetune), "fc6_dropout": None}  # tiny has no fc6
    return body


def _model(model: Network, experiments: Mapping[str, str]) -> dict[str, Any]:
    given = model.model_dump(mode="json")
    body = {name: _narrow(given[name], width) for name, width in WIDTHS.items() if given.get(name) is not None}
    weights = [_started(part, experiments) for part in model.trained_parts]
    return body | ({"weights": weights[0] if len(weights) == 1 else weights} if weights else {})


def _narrow(given: int | list[int], width: int) -> int | list[int]:
    return [width] * len(given) if isinstance(given, list) else width


def _started(weights: StageWeights, experiments: Mapping[str, str]) -> dict[str, Any]:
    given = weights.model_dump(mode="json", exclude_none=True)
    recipe = given.pop("recipe")
    return {**given, "experiment": experiments[recipe]}
