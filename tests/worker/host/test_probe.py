"""The probe of a host."""

from __future__ import annotations

from pathlib import Path

from worker.host.drain import probe_host


def test_the_probe_writes_to_the_work_root_and_says_what_is_wrong(tmp_path: Path) -> None:
    assert probe_host(tmp_path / "work", ["cpu"]) is None
    assert list((tmp_path / "work").iterdir()) == []
    (tmp_path / "taken").touch()
    wrong = probe_host(tmp_path / "taken", ["cpu"])
    assert wrong is not None
    assert str(tmp_path / "taken") in wrong
