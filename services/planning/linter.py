"""Finds what would make a number mean less than it seems to, before a GPU is spent on it and before it is kept.

Pure functions: each rule takes what is known and yields findings. What is wrong is `refused`, what is doubtful
`flagged`; a flag stands with the experiment and on its numbers.

    group_on_both_sides     clips of one group, which share a scene, are trained and tested on (UCF101)
    copies_on_both_sides    test clips are, byte for byte, clips that are trained on under other names
    missing_clips           a listed clip is not there, or scores are of other clips
    frame_counts_differ     the streams of a clip have other lengths
    class_map               labels and classes are not those of the official lists, of a member, or of the weights
    lists_not_official      a dataset goes by an official name and has other clips or splits
    weights_saw_test_clips  weights were trained on clips that are tested on
    weights_unknown         nobody can say on which clips weights were trained
    protocol_not_recipes    the test differs from that of the recipe which the experiment names
    validation_seen         weights were trained on clips that are held out to choose the epoch
    selected_on_test        the tested state was chosen by its test accuracy
    boxes_differ            the true boxes changed while stages were measured against them (`services.board.results`)

A sweep adds one to its best configuration (`services/sweeps/turn.py`), which whoever repeats that takes over
(`services/planning/known.py`): `best_of_trials`. A withdrawal adds one to all that rests on what was withdrawn
(`services/board/resting.py`): `rests_on_withdrawn`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.board.choice import chosen_on_test
from services.board.protocol import EnsembleProtocol, Protocol, measurements
from services.datasets.annotations import Annotations, digest_of_ids
from services.datasets.official import CATEGORY_OF, OFFICIAL, deviations, shared_groups
from services.datasets.sources import group_in_class
from services.errors import Finding, Refused
from services.planning.planned import PlannedStage
from services.planning.provenance import NO_FILES, measured, origins, seen_by_choice
from services.planning.provenance import SeenSplit as SeenSplit  # noqa: PLC0414 - a part of this module's language
from services.specs import EnsembleSpec, ExperimentSpec
from services.words import counted

Submitted = ExperimentSpec | EnsembleSpec
NAMED = 3
"""Clips and groups that a sentence names."""


@dataclass(frozen=True)
class SeenClips:
    """What weights say of the clips that they saw; not ``complete`` where that may not be all."""

    splits: tuple[SeenSplit, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset where an experiment is submitted.

    Attributes:
        annotations: its lists, without the clips that it leaves out; None where nobody has read them here.
        missing: listed clips that are not there, as far as the folder of clips is.
        classes: names by label, as finished `index` stages and score files have them, by the keys of their stages.
        clips: `digest_of_ids` in score files, likewise.
    """

    annotations: Annotations | None = None
    missing: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clips: Mapping[str, str] = field(default_factory=dict)


def lint(
    spec: Submitted,
    planned: Sequence[PlannedStage],
    facts: Facts = Facts(),
    recipe: ExperimentSpec | None = None,
) -> tuple[Finding, ...]:
    """Return all that is wrong or doubtful of an experiment, by field.

    Args:
        spec: what is submitted.
        planned: its stages, and those that train the weights which it names.
        facts: of its dataset.
        recipe: the spec of the recipe that it names.
    """
    found = [*_lists(spec, facts), *seen_by_stages(spec, planned, facts.annotations), *_maps_of_weights(planned, facts)]
    if isinstance(spec, EnsembleSpec):
        found += _members(spec, planned, facts)
    if isinstance(spec, ExperimentSpec):
        found += [*_files(spec, planned), *_selection(spec, planned), *_validation(spec, planned)]
        found += [*(() if recipe is None else _protocol(spec, recipe))]
    return tuple(dict.fromkeys(found))


def require_sound(findings: Iterable[Finding]) -> None:
    """Raise `Refused` with all findings if one of them is refused."""
    found = tuple(findings)
    if any(finding.severity == "refused" for finding in found):
        raise Refused(found)


def of_lists(annotations: Annotations, splits: Collection[int]) -> Iterator[Finding]:
    """Yield what is wrong with the lists of some splits: groups on both sides, classes that are not trained."""
    groups = {clip.path: group_in_class(clip.path) for clip in annotations.clips()}
    for number in sorted(splits):
        split = annotations.splits.get(number)
        if split is None:
            continue
        leaks = shared_groups(Annotations(annotations.classes, {number: split}), groups)
        if leaks:
            yield Finding("group_on_both_sides", "refused", "splits", _some(leaks, "group"))
        trained = {clip.label for clip in split.train}
        names = [annotations.classes[label] for label in sorted({clip.label for clip in split.test} - trained)]
        if names:
            sentence = f"split {number}: {_some(names, 'class', 'classes')}: tested on and not trained"
            yield Finding("class_map", "flagged", "splits", sentence)


def copies(annotations: Annotations, number: int, hashes: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the test clips of a split that are trained on under other names.

    Args:
        annotations: the lists.
        number: of the split.
        hashes: of the content of each clip by its path.
    """
    split = annotations.splits[number]
    trained = {hashes[clip.path] for clip in split.train}
    leaked = [clip.path for clip in split.test if hashes[clip.path] in trained]
    if leaked:
        are = counted(len(leaked), "test clip", "is a copy of a training clip", "are copies of training clips")
        sentence = f"split {number}: {are}: {', '.join(leaked[:NAMED])}{', ...' if len(leaked) > NAMED else ''}"
        yield Finding("copies_on_both_sides", "flagged", "splits", sentence)


def frame_counts(rgb: Mapping[str, int], flow: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the clips whose streams have other numbers of frames.

    Args:
        rgb: frames of each clip by its id.
        flow: frames of each clip from which flow was computed, one more than its fields.
    """
    other = sorted(clip for clip in rgb.keys() & flow.keys() if rgb[clip] != flow[clip])
    if other:
        words = [f"{clip} has {rgb[clip]} of rgb and {flow[clip]} of flow" for clip in other]
        yield Finding("frame_counts_differ", "refused", "flow", f"numbers of frames: {_some(words, 'clip')}")


def class_maps(field: str, own: Sequence[str], other: Sequence[str]) -> Iterator[Finding]:
    """Yield where the classes of two streams, or of weights and a dataset, differ by label."""
    differing = [label for label, pair in enumerate(zip(own, other, strict=False)) if pair[0] != pair[1]]
    if len(own) != len(other):
        yield Finding("class_map", "refused", field, f"{counted(len(own), 'class')}, and {len(other)} of the other")
    elif differing:
        label = differing[0]
        sentence = f"{len(differing)} labels mean other classes: {label} is {own[label]} and {other[label]}"
        yield Finding("class_map", "refused", field, sentence)


def seen_clips(field: str, seen: SeenClips, dataset: str, split: int, shared: Mapping[int, int]) -> Iterator[Finding]:
    """Yield whether weights saw clips that are tested on.

    Args:
        field: of the spec that names the weights.
        seen: what they say of themselves.
        dataset: that is tested on.
        split: likewise.
        shared: how many test clips of the split are trained on in each split of the dataset.
    """
    for entry in seen.splits:
        if entry.dataset == dataset and shared.get(entry.split, 0):
            clips = f"{counted(shared[entry.split], 'clip')} that split {split} tests on"
            sentence = f"weights trained on split {entry.split} of {dataset} have seen {clips}"
            yield Finding("weights_saw_test_clips", "refused", field, sentence)
    if not seen.complete:
        yield Finding("weights_unknown", "flagged", field, "nobody can say which clips the first weights have seen")


def trained_and_tested(annotations: Annotations, split: int) -> dict[int, int]:
    """Return how many test clips of a split are trained on in each split."""
    tested = {clip.id for clip in annotations.splits[split].test}
    return {
        number: len(tested & {clip.id for clip in other.train}) for number, other in sorted(annotations.splits.items())
    }


def seen_by_stages(
    spec: Submitted, planned: Sequence[PlannedStage], annotations: Annotations | None
) -> Iterator[Finding]:
    """Yield the splits whose test clips are seen by a stage from whose weights a tested network starts."""
    behind = origins(planned)
    for stage in planned:
        if stage.spec.kind == "score":
            split = stage.spec.params.model_dump(mode="json")["split"]
            yield from _seen_before(spec, split, behind[stage.key].seen, annotations)


def _seen_before(
    spec: Submitted, split: int, seen: Collection[SeenSplit], annotations: Annotations | None
) -> Iterator[Finding]:
    known = annotations is not None and split in annotations.splits
    shared = trained_and_tested(annotations, split) if annotations is not None and known else {}
    others = tuple(sorted(entry for entry in seen if entry != (spec.dataset, split)))
    yield from seen_clips("backbone.weights", SeenClips(others, complete=True), spec.dataset, split, shared)
    if not known:
        for entry in others:
            if entry.dataset == spec.dataset:
                sentence = (
                    f"weights are trained on split {entry.split}, and tested on split {split}: no lists to compare"
                )
                yield Finding("weights_unknown", "flagged", "backbone.weights", sentence)


def _members(spec: EnsembleSpec, planned: Sequence[PlannedStage], facts: Facts) -> Iterator[Finding]:
    """Yield the score files of an ensemble whose classes or clips are not those of the dataset's lists."""
    stages = {stage.key: stage.spec.params.model_dump(mode="json") for stage in planned if stage.spec.kind == "score"}
    own = facts.annotations
    for number, member in enumerate(spec.members if own is not None else ()):
        for key in member.scores:
            field, split = f"members.{number}.scores", stages.get(key, {}).get("split")
            assert own is not None
            if key in facts.classes:
                yield from class_maps(field, own.classes, facts.classes[key])
            if key in facts.clips and isinstance(split, int) and split in own.splits:
                tested = [clip.id for clip in own.splits[split].test]
                if digest_of_ids(tested) != facts.clips[key]:
                    sentence = f"scores {key[:12]} are of other clips than split {split} of {spec.dataset} tests on"
                    yield Finding("missing_clips", "refused", field, sentence)


def _maps_of_weights(planned: Sequence[PlannedStage], facts: Facts) -> Iterator[Finding]:
    """Yield where weights come from a network of as many classes that are others."""
    indexes: dict[str, str] = {}
    for stage in planned:
        inputs = [edge.key for edge in stage.spec.inputs if edge.key in indexes]
        indexes[stage.key] = stage.key if stage.spec.kind == "index" else next((indexes[key] for key in inputs), "")
        for edge in stage.spec.inputs:
            part = "model" if edge.name.startswith("model/") else "backbone" if edge.name == "weights" else None
            maps = [facts.classes.get(indexes.get(key, "")) for key in (stage.key, edge.key)]
            own, other = maps
            if part is None or own is None or other is None or len(own) != len(other):
                continue  # the classifier of another number of classes is left out, and that is said
            for found in class_maps(f"{part}.weights", own, other):
                sentence = f"{found.sentence} where the weights come from; their classifier starts from them"
                yield replace(found, severity="flagged", sentence=sentence)


def _lists(spec: Submitted, facts: Facts) -> Iterator[Finding]:
    if facts.missing:
        sentence = f"{_some(facts.missing, 'listed clip')} not in the folder of clips"
        yield Finding("missing_clips", "refused", "dataset", sentence)
    if facts.annotations is None:
        return
    yield from of_lists(facts.annotations, spec.splits)
    official = OFFICIAL.get(spec.dataset)
    differing = () if official is None else deviations(facts.annotations, official)
    if differing:
        yield Finding("lists_not_official", "flagged", "dataset", f"{spec.dataset}: {'; '.join(differing)}")
    classes = facts.annotations.classes
    if CATEGORY_OF.keys() <= set(classes) and list(classes) != sorted(classes, key=str.lower):
        yield Finding("class_map", "flagged", "dataset", "UCF101's classes are not in the order of its classInd.txt")


def _files(spec: ExperimentSpec, planned: Sequence[PlannedStage]) -> Iterator[Finding]:
    """Yield the files of weights behind tested networks, which tell what they have seen to a worker alone.

    Another stage whose weights a network takes may have started from such a file, too.
    """
    named = [(field, weights) for network in spec.networks for field, weights in network.first_weights]
    fields = {weights: field for field, weights in named if isinstance(weights, str) and weights not in NO_FILES}
    behind = origins(planned)
    found = frozenset().union(*(behind[stage.key].files for stage in planned if stage.spec.kind == "score"))
    for file in (*fields, *sorted(found - fields.keys())):
        sentence = f"{file} is read by the workers alone: what it has seen is checked before scores are kept"
        yield Finding("weights_unknown", "flagged", fields.get(file, _of_stages(spec)), sentence)


def _protocol(spec: ExperimentSpec, recipe: ExperimentSpec) -> Iterator[Finding]:
    theirs = {entry.stream: entry.protocol for entry in measurements(recipe)}
    for own in measurements(spec):
        if own.stream in theirs and own.protocol != theirs[own.stream]:
            names = ", ".join(_differing(own.protocol, theirs[own.stream]))
            sentence = f"{own.stream}: {names} differ from the recipe's test: {theirs[own.stream].line}"
            yield Finding("protocol_not_recipes", "flagged", "evaluation", sentence)


def _differing(own: Protocol | EnsembleProtocol, other: Protocol | EnsembleProtocol) -> list[str]:
    mine, theirs = own.model_dump(mode="json"), other.model_dump(mode="json")
    return [name for name in mine if mine[name] != theirs.get(name)]


def _selection(spec: ExperimentSpec, planned: Sequence[PlannedStage]) -> Iterator[Finding]:
    """Yield the streams whose epoch test clips chose, here or in a stage from whose weights they start."""
    own = {entry.stream for entry in measurements(spec) if chosen_on_test(entry.protocol.fields)}
    for each in measured(spec, planned):
        if each.stream in own:
            sentence = f"{each.stream}: the tested epoch is chosen by its accuracy on the test clips"
            yield Finding("selected_on_test", "flagged", "training.selection", sentence)
        elif chosen_on_test(each.protocol.fields):
            sentence = f"{each.stream}: it starts from weights that were chosen by their accuracy on the test clips"
            yield Finding("selected_on_test", "flagged", _of_stages(spec), sentence)


def _validation(spec: ExperimentSpec, planned: Sequence[PlannedStage]) -> Iterator[Finding]:
    """Yield the trainings that choose an epoch on clips which the weights behind them have learned."""
    for stage, found in seen_by_choice(planned, spec.dataset):
        splits = ", ".join(sorted({str(each.place.split) for each in found}))
        sentence = (
            f"{stage.label}: the held-out clips choose the epoch, and weights that it starts from were trained on"
            f" split {splits} of {spec.dataset} and did not hold the same ones out: their accuracy says too much"
        )
        yield Finding("validation_seen", "flagged", "training.selection", sentence)


def _of_stages(spec: ExperimentSpec) -> str:
    """Return the first field that names a stage whose weights are taken."""
    named = (pair for network in spec.networks for pair in network.first_weights)
    return next((field for field, weights in named if not isinstance(weights, str)), "backbone.weights")


def _some(names: Sequence[str], one: str, several: str = "") -> str:
    what = f"{len(names)} {one if len(names) == 1 else several or one + 's'}"
    return f"{what}: {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"
