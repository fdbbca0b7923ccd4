"""How numbers are worded in tables."""

from __future__ import annotations

import pytest

from cli import columns as on_screen
from cli.output import interval, measured, print_table
from services.metrics import METRICS, Metric


def test_a_value_is_shown_in_the_unit_of_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "loss", Metric("loss", "Loss", unit=""))  # type: ignore[call-overload]
    assert measured("top1", 0.9421) == "94.21 %"
    assert measured("loss", 0.9421) == "0.9421"
    assert measured("top1", None) == "-"
    assert (interval("top1", [0.5, 1]), interval("top1", None)) == ("50.00 % to 100.00 %", None)


def test_a_metric_of_a_newer_api_is_shown_as_it_is() -> None:
    assert measured("of_later", 0.25) == "0.25"


ID = "exp_0193a1b2c3d4e5f60718"
KEY = "4f6c81d09ab2e357" * 4


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (("id", "name", "state", "tags"), [(ID, "a name of many words " * 5, "running", ["one", "two", "three"] * 5)]),
        (("name", "id", "clips#"), [("word" * 40, KEY, 12), ("other", None, 3)]),
        (("what", "experiments"), [("x" * 60, [ID, ID, ID]), ("y", None)]),
        (("stage", "message"), [("train", f"needed by small ({ID}), and by other things with long words {'w' * 90}")]),
    ],
)
def test_ids_stay_in_one_piece_however_narrow_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, columns: list[str], rows: object
) -> None:
    monkeypatch.setattr(on_screen, "width", lambda: width)
    print_table("t", columns, rows)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert out.count(ID) + out.count(KEY) == str(rows).count(ID) + str(rows).count(KEY)
    for word in ("many", "needed", "other", "three"):
        assert (word in str(rows)) <= (word in out)


@pytest.mark.parametrize(
    ("width", "rows", "cut"),
    [
        (80, [(ID, "trial 1", "motion_shapes", "succeeded", "15 min ago", ["one", "two", "three"] * 5)], set()),
        (
            80,
            [(ID, "TS-LSTM,searched-trial", "motion_shapes", "succeeded", "1 min ago", [])],
            {"TS-LSTM,searched-trial"},
        ),
    ],
)
def test_no_word_is_cut_where_there_are_blanks_to_fold_at(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    rows: list[tuple[object, ...]],
    cut: set[str],
) -> None:
    monkeypatch.setattr(on_screen, "width", lambda: width)
    print_table("t", ("id", "name", "dataset", "state", "submitted", "tags"), rows)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    texts = (text for each in rows[0] for text in (each if isinstance(each, list) else [str(each)]))
    words = {word for text in texts for word in text.split()}
    assert {word for word in words if word not in out} == cut


def test_a_wide_terminal_has_each_row_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_screen, "width", lambda: 80)
    print_table("t", ("id", "name"), [(ID, "small")])
    assert capsys.readouterr().out == f"t\nid                        name\n{ID}  small\n"
