"""How numbers are worded in tables."""

from __future__ import annotations

import pytest

from cli.output import interval, measured
from services.metrics import METRICS, Metric


def test_a_value_is_shown_in_the_unit_of_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "loss", Metric("loss", "Loss", unit=""))  # type: ignore[call-overload]
    assert measured("top1", 0.9421) == "94.21 %"
    assert measured("loss", 0.9421) == "0.9421"
    assert measured("top1", None) == "-"
    assert (interval("top1", [0.5, 1]), interval("top1", None)) == ("50.00 % to 100.00 %", None)


def test_a_metric_of_a_newer_api_is_shown_as_it_is() -> None:
    assert measured("of_later", 0.25) == "0.25"
