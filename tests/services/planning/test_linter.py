"""Planted faults, each found by its rule; the official lists, in which nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.datasets.annotations import Annotations, Line, ListedClip, Split
from services.datasets.layouts import read_annotations
from services.errors import Finding, InvalidRequest, Refused
from services.planning import linter
from services.planning.linter import Facts, SeenClips, SeenSplit, lint, require_sound
from services.planning.plan import Plan, plan
from services.planning.planned import Place, no_sources
from services.recipes import RECIPES
from services.specs import BackboneSpec, ExperimentSpec, StageWeights
from services.stages import IndexParams

LISTS = Path(__file__).parents[4] / "shared/data/annotations"
official = pytest.mark.skipif(not LISTS.is_dir(), reason="the official lists are not beside the checkout")
CLASSES = ("Hop", "Run")
INDEX = IndexParams(dataset="mine")


def clips(*names: str) -> tuple[ListedClip, ...]:
    return tuple(
        ListedClip(f"{name.split('_')[0]}/v_{name}.avi", CLASSES.index(name.split("_")[0]), Line(Path("list"), place))
        for place, name in enumerate(names)
    )


def annotations(train: tuple[str, ...], test: tuple[str, ...]) -> Annotations:
    """Two splits, of which the second trains on what the first tests on."""
    return Annotations(CLASSES, {1: Split(clips(*train), clips(*test)), 2: Split(clips(*test), clips(*train))})


SOUND = annotations(("Hop_g01_c01", "Run_g01_c01"), ("Hop_g02_c01", "Run_g02_c01"))
LEAK = annotations(("Hop_g01_c01", "Run_g01_c01"), ("Hop_g01_c02", "Run_g02_c01"))
UNTRAINED = annotations(("Hop_g01_c01",), ("Hop_g02_c01", "Run_g02_c01"))


def spec(**changes: object) -> ExperimentSpec:
    values = {"dataset": "mine", "splits": (1,), "backbone": BackboneSpec(name="tiny")}
    return ExperimentSpec.model_validate(values | changes)


def planned(given: ExperimentSpec) -> tuple[object, ...]:
    return plan(given, INDEX.model_copy(update={"dataset": given.dataset}))


def codes(findings: object) -> set[tuple[str, str]]:
    return {(finding.code, finding.severity) for finding in findings}  # type: ignore[attr-defined]


def of_another_split(split: int) -> tuple[object, ...]:
    """The plan of a network on split 1 whose ConvNet starts from what was trained on a split."""

    def sources(field: str, weights: StageWeights, wanted: object) -> tuple[object, ...]:
        if weights.split is None:
            raise InvalidRequest(field, None, "a split")
        other = spec(splits=(weights.split,), streams=("rgb",))
        made = Plan(other, INDEX, sources=no_sources)
        return made.build_part(other.networks[0], "backbone", "rgb", Place(weights.split, 0))

    weights = StageWeights(recipe="demo_ts_lstm", split=split)
    mine = spec(streams=("rgb",), backbone=BackboneSpec(name="tiny", weights=weights))
    return mine, plan(mine, INDEX, sources=sources)


RECIPE = RECIPES["ts_lstm_ucf101"].spec
CASES = [
    ("nothing is known of the data", spec(), Facts(), None, set()),
    ("sound lists", spec(), Facts(SOUND), None, set()),
    ("a group on both sides", spec(), Facts(LEAK), None, {("group_on_both_sides", "refused")}),
    ("on both sides of another split", spec(splits=(3,)), Facts(LEAK), None, set()),
    ("a class that is tested alone", spec(), Facts(UNTRAINED), None, {("class_map", "flagged")}),
    ("a missing clip", spec(), Facts(SOUND, ("Run/v_Run_g02_c01.avi",)), None, {("missing_clips", "refused")}),
    (
        "lists that go by an official name",
        spec(dataset="hmdb51"),
        Facts(SOUND),
        None,
        {("lists_not_official", "flagged")},
    ),
    ("the recipe's test", RECIPE, Facts(), RECIPE, set()),
    (
        "another test than the recipe's",
        spec(evaluation={"frames": 8}),
        Facts(),
        RECIPE,
        {("protocol_not_recipes", "flagged")},
    ),
    (
        "a file of weights",
        spec(streams=("rgb",), backbone={"name": "tiny", "weights": "/weights/of/nobody.pt"}),
        Facts(),
        None,
        {("weights_unknown", "flagged")},
    ),
]


@pytest.mark.parametrize(("given", "facts", "recipe", "found"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_each_fault_is_found_and_nothing_else(given, facts, recipe, found):
    assert codes(lint(given, planned(given), facts, recipe)) == found


@pytest.mark.parametrize(
    ("split", "facts", "found"),
    [
        (1, Facts(SOUND), set()),
        (2, Facts(SOUND), {("weights_saw_test_clips", "refused")}),
        (2, Facts(), {("weights_unknown", "flagged")}),
    ],
)
def test_weights_of_another_split_have_seen_the_test_clips(split, facts, found):
    given, stages = of_another_split(split)
    assert codes(lint(given, stages, facts)) == found


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (SeenClips((SeenSplit("mine", 1),), complete=True), set()),
        (SeenClips((SeenSplit("other", 2),), complete=True), set()),
        (SeenClips((SeenSplit("mine", 2),), complete=True), {("weights_saw_test_clips", "refused")}),
        (SeenClips((SeenSplit("mine", 1),), complete=False), {("weights_unknown", "flagged")}),
    ],
)
def test_what_weights_say_of_themselves(seen, found):
    shared = linter.trained_and_tested(SOUND, 1)
    assert shared == {1: 0, 2: 2}
    assert codes(linter.seen_clips("backbone.weights", seen, "mine", 1, shared)) == found


def test_streams_of_other_lengths_and_maps():
    assert codes(linter.frame_counts({"a": 30, "b": 40}, {"a": 30, "b": 40, "c": 1})) == set()
    [found] = linter.frame_counts({"a": 30, "b": 40}, {"a": 30, "b": 41})
    assert (found.code, found.severity) == ("frame_counts_differ", "refused")
    assert "b has 40 of rgb and 41 of flow" in found.sentence
    assert list(linter.class_maps("backbone.weights", CLASSES, CLASSES)) == []
    for other in (("Run", "Hop"), ("Hop",)):
        assert codes(linter.class_maps("backbone.weights", CLASSES, other)) == {("class_map", "refused")}


def test_a_refusal_has_all_findings():
    flag, wrong = Finding("a", "flagged", "x", "doubtful"), Finding("b", "refused", "y", "wrong")
    require_sound([flag])
    with pytest.raises(Refused, match=r"^y: wrong$") as caught:
        require_sound([flag, wrong])
    assert caught.value.findings == (flag, wrong)


@official
@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_no_false_alarm_on_the_official_lists(name):
    lists = read_annotations(name, LISTS / name)
    for recipe in RECIPES.values():
        if recipe.spec.dataset == name:
            assert lint(recipe.spec, (), Facts(lists), recipe.spec) == ()


@official
def test_a_leak_that_is_planted_into_the_official_lists_is_found():
    lists = read_annotations("ucf101", LISTS / "ucf101")
    first = lists.splits[1]
    moved = next(clip for clip in first.test if clip.id.endswith("_c01"))
    kept = tuple(clip for clip in first.test if clip != moved)
    leaking = Annotations(lists.classes, {**lists.splits, 1: Split((*first.train, moved), kept)})
    found = lint(spec(dataset="ucf101", splits=(1,)), (), Facts(leaking))
    assert codes(found) == {("group_on_both_sides", "refused"), ("lists_not_official", "flagged")}
    assert codes(lint(spec(dataset="ucf101", splits=(2,)), (), Facts(leaking))) == {("lists_not_official", "flagged")}
