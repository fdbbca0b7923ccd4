"""A leaderboard on a narrow terminal."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len

from cli.board import lines

ID = "exp_0197f00baaaa01234567"


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "rank": 1, "rank_group": 1, "name": name, "network": "ts_lstm (hidden 1024, segments 5, dropout 0.5)",
        "value": 0.94, "std": 0.0123, "confidence_interval": [0.91, 0.97], "splits": {"1": 0.93, "2": 0.94, "3": 0.95},
        "split_std": 0.01, "selected_on_test": False, "varied": {}, "experiment_id": ID, **changes,
    }  # fmt: skip


def board(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"metric": "top1", "split": "mean", "significance": "McNemar", "vary": [], "rows": list(rows), **changes}


def test_at_80_columns_nothing_folds_and_names_are_cut_but_never_ids() -> None:
    long = "VideoLSTM with flow that steers, of which nobody will read the end"
    found = [line.plain for line in lines(board(row(long), row("短い名前" * 12), row("x")), "title", 80)]
    assert max(map(cell_len, found)) <= 80
    assert all(line.endswith(ID) for line in found[2:])
    assert "…" in found[2]
    assert found[2].split()[:3] == ["1", "1", "VideoLSTM"]
    assert "94.00 %" in found[2]
    assert found[1].split() == ["#", "group", "experiment", "network", "top1", "std", "id"]


def test_a_wide_terminal_shows_everything() -> None:
    found = [line.plain for line in lines(board(row("x", varied={"frames": 10}), vary=["frames"]), "title", 200)]
    assert "…" not in "".join(found)
    for name in ("network", "std", "95 % interval", "split 1", "split 3", "split std", "frames", "id"):
        assert name in found[1]


def test_what_has_no_room_at_all_is_left_to_the_terminal() -> None:
    assert lines(board(row("abcdefghijkl")), "title", 20)[2].plain.split() == ["1", "1", "abcdefg…", "94.00", "%", ID]


def test_a_protocol_s_field_that_varies_is_never_left_out() -> None:
    found = lines(board(row("x" * 60, varied={"frames": 10}), vary=["frames"]), "title", 80)
    assert cell_len(found[2].plain) <= 80
    assert "frames" in found[1].plain
