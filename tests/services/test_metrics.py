"""What is said of each metric fits where it is stored and shown."""

from __future__ import annotations

import pytest

from services.db.tables import ResultValueRow
from services.metrics import METRICS, PRIMARY, Metric


def test_each_goes_by_its_name_and_fits_its_column() -> None:
    assert PRIMARY == "top1"
    for name, metric in METRICS.items():
        assert name == metric.name
        assert len(name) <= ResultValueRow.__table__.c.metric.type.length
        assert metric.over_seeds([0.25, 0.75]) == metric.over_splits([0.25, 0.75]) == 0.5


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_merit_is_higher_where_a_value_is_better(higher_is_better: bool) -> None:
    metric = Metric("m", "M", higher_is_better=higher_is_better)
    better, worse = (0.3, 0.1) if higher_is_better else (0.1, 0.3)
    assert metric.merit(better) > metric.merit(worse)
    assert metric.merit(metric.merit(0.1)) == 0.1


def test_a_share_is_shown_in_hundredths_and_a_plain_number_with_more_digits() -> None:
    assert Metric("m", "M").shown(0.94213, 1) == "94.2"
    assert Metric("m", "M", unit="").shown(0.94213, 1) == "0.942"
