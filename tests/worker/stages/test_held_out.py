"""What is held out of a train list: whole groups, the same ones in every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.errors import UserError
from services.specs import TrainingSpec
from tests.worker.stages.conftest import manifest_of
from worker.stages.splits import Division, divide
from worker.video.survey.manifest import Manifest, SplitIds


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


def test_a_class_of_one_group_holds_none_out() -> None:
    with pytest.raises(
        UserError, match=r"selection: got 'validation', allowed: 'last', since no class of train list 1"
    ):
        divided(manifest(1, 5))
    assert len(divided(manifest(2, 5)).held_out) == 10


def test_the_test_list_is_held_out_only_by_name() -> None:
    found = manifest(2, 5)
    division = divided(found, selection="test")
    assert (len(division.train), len(division.held_out), division.unit) == (20, 3, None)
    assert divided(found, selection="last") == Division(division.train)
