"""Planted faults, each found by its rule; the official lists, in which nothing is found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from services.datasets.annotations import Annotations, Line, ListedClip, Split, digest_of_ids
from services.datasets.layouts import read_annotations
from services.datasets.sources import film_of
from services.errors import Finding, InvalidRequest, Refused
from services.planning import linter
from services.planning.linter import Facts, SeenClips, SeenSplit, lint, require_sound
from services.planning.plan import Plan, plan
from services.planning.planned import Place, PlannedStage, no_sources
from services.recipes import RECIPES
from services.specs import BackboneSpec, EnsembleSpec, ExperimentSpec, StageWeights
from services.stages import IndexParams, StageSpec, UploadParams

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
ON_TEST = {"training": {"selection": "test"}}
VALIDATION: dict[str, object] = {"selection": "validation"}
LEARNED = {("validation_seen", "flagged")}
OTHERS = ("Run", "Hop")
CHOSEN = ("selected_on_test", "flagged")
SCORES = "5" * 64


NOTHING = Facts()


def linted(given: ExperimentSpec, facts: Facts = NOTHING, recipe: ExperimentSpec | None = None) -> tuple[Finding, ...]:
    return lint(given, planned(given), facts, recipe)


def started_from(split: int, facts: Facts) -> tuple[Finding, ...]:
    """What is found of a network on split 1 that starts from what was trained on a split."""
    given, stages = of_another_split(split)
    return lint(given, stages, facts)


def tuned(**changes: object) -> dict[str, object]:
    """A network that held-out clips choose, on a ConvNet with these settings of its training."""
    return {"training": VALIDATION, "backbone": {"name": "tiny", "finetune": changes}}


def started_from_chosen(dataset: str = "mine", selection: str = "test") -> tuple[Finding, ...]:
    """What is found of a network that starts from one whose epoch was chosen on test clips of a dataset."""

    def sources(field: str, weights: StageWeights, wanted: object) -> tuple[object, ...]:
        other = spec(dataset=dataset, streams=("rgb",), training={"selection": selection})
        made = Plan(other, INDEX.model_copy(update={"dataset": dataset}), sources=no_sources)
        return made.build_part(other.networks[0], "model", "rgb", Place(1, 0))

    mine = spec(streams=("rgb",), model={"kind": "ts_lstm", "weights": {"recipe": "demo_ts_lstm"}})
    return lint(mine, plan(mine, INDEX, sources=sources), Facts(SOUND))


def validated(before: dict[str, object], own: dict[str, object] = VALIDATION, **other: Any) -> tuple[Finding, ...]:
    """What is found of a network that held-out clips choose, and that starts from another one."""

    def sources(field: str, weights: StageWeights, wanted: object) -> tuple[object, ...]:
        theirs = spec(streams=("rgb",), training=before, **{"dataset": "mine", "seeds": (0,), **other})
        made = Plan(theirs, INDEX.model_copy(update={"dataset": theirs.dataset}), sources=no_sources)
        return made.build_part(theirs.networks[0], "model", "rgb", Place(1, theirs.seeds[0]))

    mine = spec(streams=("rgb",), training=own, model={"kind": "ts_lstm", "weights": {"recipe": "demo_ts_lstm"}})
    return lint(mine, plan(mine, INDEX, sources=sources), Facts(SOUND))


def started_from_a_stage_of_a_file(tmp: Path) -> tuple[Finding, ...]:
    """What is found of a network whose ConvNet starts from one that started from a file."""

    def sources(field: str, weights: StageWeights, wanted: object) -> tuple[object, ...]:
        other = spec(streams=("rgb",), backbone={"name": "tiny", "weights": str(tmp)})
        made = Plan(other, INDEX, sources=no_sources)
        return made.build_part(other.networks[0], "backbone", "rgb", Place(1, 0))

    mine = spec(streams=("rgb",), backbone=BackboneSpec(name="tiny", weights=StageWeights(recipe="demo_ts_lstm")))
    return lint(mine, plan(mine, INDEX, sources=sources), Facts(SOUND))


def file_that_saw(split: int, *, complete: bool = True, dataset: str = "mine") -> list[Finding]:
    """What is found of a file of weights that says what it saw, where split 1 is tested on."""
    seen = SeenClips((SeenSplit(dataset, split),), complete=complete)
    return [*linter.seen_clips("backbone.weights", seen, "mine", 1, linter.trained_and_tested(SOUND, 1))]


def brought(
    classes: tuple[str, ...] = CLASSES, ids: tuple[str, ...] = ("Hop/v_Hop_g02_c01", "Run/v_Run_g02_c01")
) -> Any:
    """What is found of an ensemble of scores that a user brought when the lists were others."""
    given = EnsembleSpec(dataset="mine", splits=(1,), method="product", members=({"scores": (SCORES,)},))
    params = UploadParams(uploaded="0" * 64, dataset="mine", split=1, streams=("rgb",))
    stage = PlannedStage(StageSpec(kind="score", params=params), SCORES, "brought")
    return lint(given, (stage,), Facts(SOUND, classes={SCORES: classes}, clips={SCORES: digest_of_ids(ids)}))


def of_another_dataset(own: tuple[str, ...], other: tuple[str, ...]) -> tuple[Finding, ...]:
    """What is found of a ConvNet that starts from one of another dataset, whose lists are read."""

    def sources(field: str, weights: StageWeights, wanted: object) -> tuple[object, ...]:
        there = spec(dataset="theirs", streams=("rgb",))
        made = Plan(there, INDEX.model_copy(update={"dataset": "theirs"}), sources=no_sources)
        return made.build_part(there.networks[0], "backbone", "rgb", Place(1, 0))

    weights = StageWeights(recipe="demo_ts_lstm", dataset="theirs")
    mine = spec(streams=("rgb",), backbone=BackboneSpec(name="tiny", weights=weights))
    stages = plan(mine, INDEX, sources=sources)
    maps = {"mine": own, "theirs": other}
    known = {each.key: maps[each.spec.params.dataset] for each in stages if each.spec.kind == "index"}
    return lint(mine, stages, Facts(classes=known))


FRAMES = {"a": 30, "b": 40}
DIGESTS = {clip.path: clip.id for clip in SOUND.clips()}
CASES: list[tuple[str, Callable[[], Iterable[Finding]], set[tuple[str, str]]]] = [
    ("nothing is known of the data", lambda: linted(spec()), set()),
    ("sound lists", lambda: linted(spec(), Facts(SOUND)), set()),
    ("a planted leak", lambda: linted(spec(), Facts(LEAK)), {("group_on_both_sides", "refused")}),
    ("a leak of another split", lambda: linted(spec(splits=(3,)), Facts(LEAK)), set()),
    ("clips of their own", lambda: linter.copies(SOUND, 1, DIGESTS), set()),
    (
        "a training clip under another name",
        lambda: linter.copies(SOUND, 1, dict.fromkeys(DIGESTS, "0")),
        {("copies_on_both_sides", "flagged")},
    ),
    ("weights of the same split", lambda: started_from(1, Facts(SOUND)), set()),
    ("weights of another split", lambda: started_from(2, Facts(SOUND)), {("weights_saw_test_clips", "refused")}),
    ("weights of another split, no lists", lambda: started_from(2, Facts()), {("weights_unknown", "flagged")}),
    ("a file that saw what is trained on", lambda: file_that_saw(1), set()),
    ("a file that saw another dataset", lambda: file_that_saw(2, dataset="other"), set()),
    ("a file that saw test clips", lambda: file_that_saw(2), {("weights_saw_test_clips", "refused")}),
    ("a file that may have seen more", lambda: file_that_saw(1, complete=False), {("weights_unknown", "flagged")}),
    (
        "a file that workers alone read",
        lambda: linted(spec(streams=("rgb",), backbone={"name": "tiny", "weights": "/weights/of/nobody.pt"})),
        {("weights_unknown", "flagged")},
    ),
    (
        "a network's file",
        lambda: linted(spec(streams=("rgb",), model={"kind": "ts_lstm", "weights": "/weights/of/nobody.pt"})),
        {("weights_unknown", "flagged")},
    ),
    (
        "a file behind another stage",
        lambda: started_from_a_stage_of_a_file(Path("/weights/of/nobody.pt")),
        {("weights_unknown", "flagged")},
    ),
    ("weights that test clips chose", started_from_chosen, {("selected_on_test", "flagged")}),
    ("weights that test clips of another dataset chose", lambda: started_from_chosen("theirs"), set()),
    ("weights that held-out clips chose", lambda: started_from_chosen(selection="validation"), set()),
    ("as many frames", lambda: linter.frame_counts(FRAMES, FRAMES | {"c": 1}), set()),
    (
        "other frame counts",
        lambda: linter.frame_counts(FRAMES, {"a": 30, "b": 41}),
        {("frame_counts_differ", "refused")},
    ),
    ("the same class map", lambda: linter.class_maps("members.0", CLASSES, CLASSES), set()),
    ("other labels", lambda: linter.class_maps("members.0", CLASSES, OTHERS), {("class_map", "refused")}),
    ("fewer classes", lambda: linter.class_maps("members.0", CLASSES, ("Hop",)), {("class_map", "refused")}),
    ("a member of the lists' classes", brought, set()),
    ("a member of other labels", lambda: brought(OTHERS), {("class_map", "refused")}),
    ("a member of other clips", lambda: brought(ids=("Hop/v_Hop_g02_c01",)), {("missing_clips", "refused")}),
    ("weights of as many other classes", lambda: of_another_dataset(CLASSES, OTHERS), {("class_map", "flagged")}),
    ("weights of the same classes", lambda: of_another_dataset(CLASSES, CLASSES), set()),
    ("weights of another number of classes", lambda: of_another_dataset(CLASSES, ("Hop", "Run", "Sit")), set()),
    ("a class that is tested alone", lambda: linted(spec(), Facts(UNTRAINED)), {("class_map", "flagged")}),
    (
        "a missing clip",
        lambda: linted(spec(), Facts(SOUND, ("Run/v_Run_g02_c01.avi",))),
        {("missing_clips", "refused")},
    ),
    (
        "lists that go by an official name",
        lambda: linted(spec(dataset="hmdb51"), Facts(SOUND)),
        {("lists_not_official", "flagged")},
    ),
    ("selection on validation", lambda: linted(spec(training={"selection": "validation"})), set()),
    ("a ConvNet that holds less out", lambda: linted(spec(**tuned(validate=True, validation_share=0.05))), LEARNED),
    ("a ConvNet that holds more out", lambda: linted(spec(**tuned(validate=True, validation_share=0.2))), set()),
    ("a ConvNet that test clips choose", lambda: linted(spec(**tuned(selection="test"))), {CHOSEN, *LEARNED}),
    ("weights that learned the held-out clips", lambda: validated({}), LEARNED),
    ("weights that held the same clips out", lambda: validated(VALIDATION), set()),
    ("weights that held others out", lambda: validated(VALIDATION, seeds=(1,)), LEARNED),
    ("weights of other clips", lambda: validated({}, dataset="theirs"), set()),
    ("weights that learned what is only reported", lambda: validated({}, {"validate": True}), set()),
    ("selection on test", lambda: linted(spec(**ON_TEST)), {("selected_on_test", "flagged")}),
    ("the recipe's test", lambda: linted(RECIPE, recipe=RECIPE), set()),
    (
        "another test than the recipe's",
        lambda: linted(spec(evaluation={"frames": 8}), recipe=RECIPE),
        {("protocol_not_recipes", "flagged")},
    ),
]
"""What is planted, and all that is found, in the order of issue and module."""


@pytest.mark.parametrize(("planted", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_fault_is_found_and_nothing_else(planted, found):
    assert codes(planted()) == found


def test_every_code_has_a_row():
    named = set(re.findall(r"^    ([a-z_]+)  ", linter.__doc__, re.MULTILINE))
    assert named - {"boxes_differ"} == {code for *_, found in CASES for code, _ in found}


def test_sentences_name_clips_classes_and_labels():
    assert linter.trained_and_tested(SOUND, 1) == {1: 0, 2: 2}
    [frames] = linter.frame_counts(FRAMES, {"a": 30, "b": 41})
    assert "b has 40 of rgb and 41 of flow" in frames.sentence
    [member] = brought(OTHERS)
    assert (member.field, member.sentence) == ("members.0.scores", "2 labels mean other classes: 0 is Hop and Run")
    [weights] = of_another_dataset(CLASSES, OTHERS)
    assert weights.sentence.endswith("where the weights come from; their classifier starts from them")


def test_files_and_choices_are_told_at_the_field_that_brings_them():
    def fields(found: Iterable[Finding]) -> list[str]:
        return [finding.field for finding in found]

    of_network = spec(streams=("rgb",), model={"kind": "ts_lstm", "weights": "/weights/of/nobody.pt"})
    assert fields(linted(of_network)) == ["model.weights"]
    assert fields(started_from_a_stage_of_a_file(Path("/weights/of/nobody.pt"))) == ["backbone.weights"]
    [chosen] = started_from_chosen()
    assert (chosen.field, chosen.sentence) == (
        "model.weights",
        "rgb: it starts from weights that were chosen by their accuracy on the test clips",
    )


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
    for split, tested in lists.splits.items():
        given = EnsembleSpec(dataset=name, splits=(split,), method="product", members=({"scores": (SCORES,)},))
        params = UploadParams(uploaded="0" * 64, dataset=name, split=split, streams=("rgb",))
        stage = PlannedStage(StageSpec(kind="score", params=params), SCORES, "brought")
        ids = digest_of_ids(clip.id for clip in tested.test)
        assert lint(given, (stage,), Facts(lists, classes={SCORES: lists.classes}, clips={SCORES: ids})) == ()


@official
@pytest.mark.parametrize("split", [1, 2, 3])
def test_clips_of_one_film_on_both_sides_are_found_in_lists_of_hmdb51(split):
    """The official lists have none: the owners kept a film of a class on one side."""
    lists = read_annotations("hmdb51", LISTS / "hmdb51")
    train, test = lists.splits[split].train, lists.splits[split].test
    films = {(clip.label, film_of(clip.path)) for clip in test}
    assert None not in {film for _, film in films}
    assert films.isdisjoint((clip.label, film_of(clip.path)) for clip in train)
    counts = Counter((clip.label, film_of(clip.path)) for clip in test)
    moved = next(clip for clip in test if counts[clip.label, film_of(clip.path)] > 1)
    kept = tuple(clip for clip in test if clip != moved)
    [found] = linter.of_lists(Annotations(lists.classes, {split: Split((*train, moved), kept)}), [split])
    named = f"film {film_of(moved.path)!r} of {lists.classes[moved.label]}"
    assert (found.code, found.severity) == ("group_on_both_sides", "refused")
    assert found.sentence == f"1 group: split {split}: {named} is trained and tested on"


@official
def test_ucf101_and_hmdb51_have_other_numbers_of_classes():
    ucf101, hmdb51 = (read_annotations(name, LISTS / name).classes for name in ("ucf101", "hmdb51"))
    assert of_another_dataset(hmdb51, ucf101) == of_another_dataset(ucf101, hmdb51) == ()


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
