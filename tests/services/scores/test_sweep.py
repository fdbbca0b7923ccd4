"""Sweeps over the weights of a fusion: the curve, and what is tuning."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.scores.files import ScoreFile
from services.scores.sweep import sweep

CLASSES = ("A", "B")


def files(margins: Any, groups: Any) -> list[ScoreFile]:
    """Return two systems; margins (2, N) say by how much each prefers the right class, A."""
    clips = tuple(f"A/v_A_g{group:02d}_c{number:02d}" for number, group in enumerate(groups))
    one = ScoreFile("d", 1, ("rgb",), 0, CLASSES, clips, np.zeros(len(clips), int), np.zeros(0), "probabilities")
    return [replace(one, scores=np.stack([0.5 + each, 0.5 - each], 1)) for each in np.array(margins) / 2]


def test_a_weight_that_only_one_group_wants_gains_by_tuning_alone() -> None:
    # Group 1 is right where the second system has more than 0.68, group 2 where it has less than 0.32, the rest always.
    first, second = [-0.75, 0.35, 0.5], [0.35, -0.75, 0.5]
    found = sweep(files([first, second], [1, 2, 3]), "probabilities", (1, 1), 1, steps=11)
    assert [point.weight for point in found.curve] == pytest.approx(np.linspace(0, 1, 11))
    assert [round(3 * point.top1) for point in found.curve] == [2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2]
    assert (found.equal, found.declared) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert found.best_on_test.top1 == pytest.approx(2 / 3)
    assert found.held_out == pytest.approx(1 / 3)  # without its group, the other group's weight is chosen
    assert (found.gain_on_test, found.gain_held_out, found.tuning) == (
        pytest.approx(1 / 3), pytest.approx(0), pytest.approx(1 / 3),
    )  # fmt: skip
    assert (found.groups, len(found.held_out_weights)) == (3, 3)


def test_a_weight_that_all_groups_want_is_no_tuning() -> None:
    first, second = [-0.75] * 3, [0.35] * 3
    found = sweep(files([first, second], [1, 2, 3]), "probabilities", (1, 3), 1, steps=11)
    assert (found.declared, found.equal, found.best_on_test.top1) == (1.0, 0.0, 1.0)
    assert found.best_on_test.weight == pytest.approx(0.7)  # of those that are as good, nearest to equal
    assert (found.held_out, found.gain_held_out, found.tuning) == (1.0, 1.0, 0.0)


def test_the_others_keep_their_ratio() -> None:
    systems = files([[-0.7], [0.3]], [1])
    third = replace(systems[1], scores=1 - systems[1].scores)  # against the second
    found = sweep([*systems, third], "probabilities", (0, 2, 1), 0, steps=2)
    assert [point.top1 for point in found.curve] == [1.0, 0.0]
    found = sweep([*systems, third], "probabilities", (0, 1, 2), 0, steps=2)
    assert [point.top1 for point in found.curve] == [0.0, 0.0]


@pytest.mark.parametrize(
    "names", [("a/film_a_u_nm_np1_ba_goo_1", "b/film_b_u_nm_np1_ba_goo_2"), ("a/v_a_g07_c01", "b/v_b_g07_c02")]
)
def test_clips_of_one_film_or_group_are_held_out_together(names: tuple[str, ...]) -> None:
    systems = [replace(file, clips=(*names, "c/other_c_u_1")) for file in files([[1, 1, 1], [1, 1, 1]], [1, 2, 3])]
    assert sweep(systems, "product", (1, 1), 0).groups == 2
