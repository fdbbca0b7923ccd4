"""Charts that the server draws: where lines are, which marks stand at the axes, and what a screen reader hears."""

from __future__ import annotations

import re

from api.web.chart import HEIGHT, MOST_POINTS, WIDTH, charts
from services.journal.curves import Curve


def curve(metric: str, values: tuple[float, ...], stage: str = "train rgb") -> Curve:
    return Curve(stage, stage, metric, tuple(range(1, len(values) + 1)), values)


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", text)]


def test_losses_and_accuracies_stand_apart():
    loss, accuracy = charts([curve("train_loss", (2.0, 1.0)), curve("validation_accuracy", (0.25, 0.5))])
    assert (loss.title, loss.unit, accuracy.title, accuracy.unit) == ("Loss", "", "Accuracy", "%")
    assert [line.held_out for line in (*loss.lines, *accuracy.lines)] == [False, True]
    assert "train loss of train rgb is 1 after 2 epochs" in loss.words
    assert "validation accuracy of train rgb is 50 % after 2 epochs" in accuracy.words
    (left, high), (right, low) = points(loss.lines[0].points)
    assert left < right
    assert high < low  # y grows downwards
    assert charts([]) == []


def test_lines_stay_inside_and_long_ones_are_thinned():
    values = tuple(1 / epoch for epoch in range(1, 5001))
    (chart,) = charts([curve("train_loss", values), curve("train_loss", (0.0, 0.0), "other")])
    found = points(chart.lines[0].points)
    assert len(found) <= MOST_POINTS + 1
    assert found[-1] == points(charts([curve("train_loss", values)])[0].lines[0].points)[-1]
    for x, y in (*found, *points(chart.lines[1].points)):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert [line.hue for line in chart.lines] == [0, 1]
    assert len(chart.x) <= 7
    assert all(tick.words.isdigit() for tick in chart.x)


def test_one_epoch_of_one_value_has_axes():
    (chart,) = charts([curve("train_loss", (0.0,))])
    assert [tick.words for tick in chart.x] == ["1", "2"]
    assert chart.y
