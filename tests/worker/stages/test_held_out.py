"""What is held out of a train list: whole groups, the same ones in every stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from services.datasets.sources import film_of
from services.errors import UserError
from services.specs import TrainingSpec
from tests.worker.stages.conftest import manifest_of
from worker.stages.splits import Division, divide
from worker.video.survey.manifest import Manifest, SplitIds

VALIDATION = partial(TrainingSpec, selection="validation")


def manifest(groups: int, clips: int, *, grouped: bool = True) -> Manifest:
    """Two classes of so many groups, each of so many clips."""
    made = [
        clip.model_copy(update={"id": f"{clip.id}_{number}", "group": clip.group if grouped else None})
        for clip in manifest_of(Path("/clips"), groups).clips
        for number in range(clips)
    ]
    ids = tuple(clip.id for clip in made)
    return Manifest(
        dataset="shades", root=Path("/clips"), classes=("Dark", "Light"), clips=tuple(made),
        splits={1: SplitIds(train=ids, test=ids[:3])},
    )  # fmt: skip


def divided(found: Manifest, seed: int = 0, **training: object) -> Division:
    return divide(found, 1, TrainingSpec.model_validate({"selection": "validation", **training}), seed)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_groups_are_held_out_as_a_whole_of_every_class(share: float) -> None:
    division = divided(manifest(10, 7), validation_share=share)
    held, trained = ({(c.label, c.group) for c in part} for part in (division.held_out, division.train))
    assert held.isdisjoint(trained)
    assert len(division.held_out) + len(division.train) == 140
    for label in (0, 1):
        assert share * 70 <= sum(c.label == label for c in division.held_out) < share * 70 + 7
    assert division.unit == "groups"


def test_the_seed_draws_and_nothing_else_does() -> None:
    found = manifest(10, 3)
    assert divided(found) == divided(found, epochs=3, batch_size=2)
    assert divided(found, seed=1).held_out != divided(found).held_out


def test_clips_are_drawn_where_groups_are_not_known() -> None:
    division = divided(manifest(2, 10, grouped=False), validation_share=0.2)
    assert (division.unit, len(division.held_out), len(division.train)) == ("clips", 8, 32)


def test_films_of_hmdb51_are_held_out_as_a_whole() -> None:
    """Also where the manifest is older than the rule; a larger share holds the same out, and more."""
    plain = manifest(10, 3, grouped=False)
    clips = [
        clip.model_copy(
            update={"path": f"{name}/Film_{place // 3}_{name}_f_nm_np1_fr_goo_{place % 3}.avi"}
        )
        for name in ("Dark", "Light")
        for place, clip in enumerate(clip for clip in plain.clips if plain.classes[clip.label] == name)
    ]  # fmt: skip
    films = plain.model_copy(update={"clips": tuple(clips)})
    some, more = (divide(films, 1, VALIDATION(validation_share=share), 0, "film") for share in (0.2, 0.4))
    assert (some.unit, len(some.held_out), len(more.held_out)) == ("groups", 12, 24)
    held, trained = ({(c.label, film_of(c.path)) for c in part} for part in (some.held_out, some.train))
    assert held.isdisjoint(trained)
    assert {clip.id for clip in some.held_out} < {clip.id for clip in more.held_out}
    assert divide(plain, 1, VALIDATION(), 0, "film").unit == "clips"


def test_a_class_of_one_group_holds_none_out() -> None:
    with pytest.raises(
        UserError, match=r"selection: got 'validation', allowed: 'last', since no class of train list 1"
    ):
        divided(manifest(1, 5))
    assert len(divided(manifest(2, 5)).held_out) == 10


def test_to_validate_holds_out_what_a_selection_would() -> None:
    found = manifest(10, 3)
    assert divided(found, selection="last", validate=True) == divided(found)
    with pytest.raises(UserError, match="validate: got true, allowed: false, since no class of train list 1"):
        divided(manifest(1, 5), selection="last", validate=True)


def test_the_test_list_is_held_out_only_by_name() -> None:
    found = manifest(2, 5)
    division = divided(found, selection="test")
    assert (len(division.train), len(division.held_out), division.unit) == (20, 3, None)
    assert divided(found, selection="last") == Division(division.train)
