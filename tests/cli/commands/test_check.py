"""`dataset check` on a folder that no API knows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from cli.client import Client
from cli.main import main
from worker.video.generated.motion_shapes import write_avi


@pytest.fixture
def dataset(tmp_path: Path) -> list[str]:
    root, lists = tmp_path / "clips", tmp_path / "lists"
    (root / "A").mkdir(parents=True)
    for number in (1, 2):
        write_avi(root / f"A/v_A_g0{number}_c01.avi", np.full((5, 32, 48, 3), 40 * number, np.uint8))
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n")
    (lists / "trainlist01.txt").write_text("A/v_A_g01_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("A/v_A_g02_c01.avi\n")
    return ["dataset", "check", "--root", str(root), "--splits", str(lists)]


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> int:
    monkeypatch.setenv("TWOSTREAM_HOME", str(home))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_a_sound_dataset(dataset, monkeypatch, capsys, tmp_path) -> None:
    assert run([*dataset, "--jobs", "1", "--json"], monkeypatch, tmp_path / "home") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clips"], report["present"], report["frames"]) == (2, 2, 10)
    assert run(dataset, monkeypatch, tmp_path / "home") == 0
    out = capsys.readouterr().out
    assert "48x32: 2" in out
    assert "not an official dataset" in out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "none: 2" in rows["audio"]
    for name in ("interlaced", "turned", "mirrored", "others", "differing"):
        assert name in rows


def test_a_missing_clip_is_named_and_ends_with_1(dataset, monkeypatch, capsys, tmp_path) -> None:
    Path(dataset[3], "A/v_A_g02_c01.avi").unlink()
    assert run([*dataset, "--official", "hmdb51"], monkeypatch, tmp_path / "home") == 1
    out = capsys.readouterr().out
    assert "missing:\n  A/v_A_g02_c01.avi" in out
    assert "classes: 1, official: 51" in out


def test_clips_that_are_left_out_are_not_looked_at(dataset, monkeypatch, capsys, tmp_path) -> None:
    root, lists = Path(dataset[3]), Path(dataset[5])
    (root / "A/v_A_g03_c01.avi").write_bytes(b"broken")
    with (lists / "trainlist01.txt").open("a") as file:
        file.write("A/v_A_g03_c01.avi 1\n")
    assert run(dataset, monkeypatch, tmp_path / "home") == 1
    capsys.readouterr()
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("A/v_A_g03_c01.avi\n")
    assert run([*dataset, "--exclude", str(exclude), "--json"], monkeypatch, tmp_path / "home") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clips"], report["excluded"], report["surplus"], report["undecodable"]) == (2, 1, [], {})
    exclude.write_text("A/v_A_g04_c01.avi\n")
    assert run([*dataset, "--exclude", str(exclude)], monkeypatch, tmp_path / "home") == 2
    assert "exclude.txt:1: got 'A/v_A_g04_c01.avi', allowed: a clip of the lists" in capsys.readouterr().err


def test_wrong_options_are_named(dataset, monkeypatch, capsys, tmp_path) -> None:
    for arguments, words in (
        ([*dataset[:2]], "NAME: not given"),
        ([*dataset[:2], "ucf101", *dataset[2:4]], "--splits: not given, allowed: a folder; --root and --splits go"),
        ([*dataset[:2], *dataset[4:]], "--root: not given, allowed: a folder"),
        ([*dataset, "--layout", "hmdb51"], "hint: --layout ucf101 reads these lists"),
        ([*dataset[:5], "/nowhere"], "--splits: got '/nowhere', allowed: a folder"),
        ([*dataset, "--official", "ucf102"], "--official: got 'ucf102', allowed: ucf101, hmdb51"),
        ([*dataset, "--layout", "coco"], "--layout: got 'coco', allowed: ucf101, hmdb51"),
    ):
        assert run(arguments, monkeypatch, tmp_path / "home") == 2
        assert words in capsys.readouterr().err


def test_what_goes_wrong_beside_the_report_is_told(dataset, monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "home/doctor").mkdir(parents=True)
    kept = hashlib.sha256(dataset[3].encode()).hexdigest()[:16]
    (tmp_path / "home/doctor" / kept).write_bytes(b"in the way")
    assert run([*dataset, "--json"], monkeypatch, tmp_path / "home") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["frames"] == 10
    assert "what clips hold cannot be kept for a later run" in captured.err


def test_a_doctor_that_dies_is_no_wrong_usage(dataset, monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")  # which Python imports as it starts
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(dataset, monkeypatch, tmp_path / "home") == 1
    assert "the doctor ended without a report, with status -6" in capsys.readouterr().err


def test_odd_names_stay_on_their_lines_and_are_no_markup(dataset, monkeypatch, capsys, tmp_path) -> None:
    root = Path(dataset[3]).rename(tmp_path / "clips [old]")
    (root / "A/[b]a\n\x1b[2Jb.avi").touch()
    assert run([*dataset[:3], str(root), *dataset[4:]], monkeypatch, tmp_path / "home") == 0
    out = capsys.readouterr().out
    assert "surplus:\n  A/[b]a \ufffd[2Jb.avi\n" in out
    assert str(root) in out


def test_the_workers_limit_of_a_frame_is_the_doctors(dataset, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv("TWOSTREAM_MAX_FRAME_MEGAPIXELS", "0.001")
    assert run([*dataset, "--json"], monkeypatch, tmp_path / "home") == 1
    words = json.loads(capsys.readouterr().out)["undecodable"]["A/v_A_g01_c01.avi"]
    assert "frames of 48x32 pixels, allowed: 1000 pixels; hint: TWOSTREAM_MAX_FRAME_MEGAPIXELS" in words
    for wrong in ("many", "0", "-1", "nan"):
        monkeypatch.setenv("TWOSTREAM_MAX_FRAME_MEGAPIXELS", wrong)
        assert run(dataset, monkeypatch, tmp_path / "home") == 2
        words = f"TWOSTREAM_MAX_FRAME_MEGAPIXELS: got '{wrong}', allowed: a number above 0"
        assert words in capsys.readouterr().err


def test_the_api_keeps_what_was_found_in_a_registered_dataset(dataset, twostream, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TWOSTREAM_HOME", str(tmp_path / "home"))
    add = ("dataset", "add", "looked-at", "--root", dataset[3], "--splits", dataset[5])
    assert twostream(*add)[0] == 0
    root, odd = Path(dataset[3]), "A/v_A_g02_\x1b[31mc02.avi"
    (root / "A/v_A_g02_c01.avi").unlink()
    (root / odd).write_bytes(b"broken")
    code, out, err = twostream("dataset", "check", "looked-at", "--json", "--jobs", "1")
    assert (code, err) == (1, "")
    assert json.loads(out)["missing"] == ["A/v_A_g02_c01.avi"]
    with Client.connect() as client:
        kept = client.get("/datasets/looked-at")["check"]
    assert (kept["revision"], kept["healthy"], kept["present"], kept["counts"]["sizes"]) == (1, False, 1, {"48x32": 1})
    assert kept["findings"]["missing"] == {"count": 1, "first": ["A/v_A_g02_c01.avi"]}
    assert kept["findings"]["surplus"]["first"] == ["A/v_A_g02_\N{REPLACEMENT CHARACTER}[31mc02.avi"]
    assert kept["findings"]["deviations"] is None
