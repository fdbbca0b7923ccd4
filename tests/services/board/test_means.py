"""Deviations by hand, without a database."""

from __future__ import annotations

import math

from services.board.means import Measured, rows
from services.revisions import Revision

RATES = {
    (1, 0): 0.60, (2, 0): 0.70, (3, 0): 0.80,
    (1, 1): 0.62, (2, 1): 0.72, (3, 1): 0.82,
    (1, 2): 0.67, (2, 2): 0.77, (3, 2): 0.87,
}  # fmt: skip
"""By split and seed; the seeds' means over splits are 0.70, 0.72 and 0.77."""


def test_the_deviation_of_three_seeds_is_that_of_their_means_over_splits() -> None:
    measured = [Measured("rgb", split, seed, {"top1": rate}, {}, 100, "key") for (split, seed), rate in RATES.items()]
    found = {(row.split, row.seed): row.values["top1"] for row in rows(measured, Revision(1, (1, 2, 3), 0, ()))}
    assert math.isclose(found[None, None].value, 0.73)
    assert math.isclose(found[None, None].spread or 0, math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert math.isclose(found[1, None].spread or 0, math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    one = rows([entry for entry in measured if entry.seed == 1], Revision(1, (1, 2, 3), 0, ()))
    assert [row.values["top1"].spread for row in one] == [None] * 7
