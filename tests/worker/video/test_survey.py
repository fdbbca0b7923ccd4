from pathlib import Path

import numpy as np
import pytest

from worker.video import survey as module
from worker.video.inspection import Inspection
from worker.video.isolation import Inspectors
from worker.video.motion_shapes import write_avi
from worker.video.survey import Failure, Ledger, survey

NAMES = ("a.avi", "b.avi", "c.avi")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for number, name in enumerate(NAMES):
        write_avi(tmp_path / "clips" / name, np.full((5 + number, 32, 48, 3), 99, np.uint8))
    (tmp_path / "clips/b.avi").write_bytes(b"broken")
    return tmp_path / "clips"


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips that were really inspected."""
    names: list[str] = []

    class Counting(Inspectors):
        def inspect(self, path: Path) -> Inspection:
            names.append(path.name)
            return super().inspect(path)

    monkeypatch.setattr(module, "Inspectors", Counting)
    return names


def test_clips_come_in_order_and_failures_with_frame_and_reason(root: Path, tmp_path: Path) -> None:
    found = dict(survey(root, [*NAMES, "absent.avi"], Ledger(tmp_path / "state"), threads=2))
    assert list(found) == [*NAMES, "absent.avi"]
    assert [found[name].frames for name in ("a.avi", "c.avi")] == [5, 7]  # type: ignore[union-attr]
    assert isinstance(found["b.avi"], Failure)
    assert found["b.avi"].reason.startswith("Invalid data")
    assert found["absent.avi"] == Failure(0, "No such file or directory")


def test_a_later_run_inspects_what_is_left_or_has_changed(root: Path, tmp_path: Path, inspected: list[str]) -> None:
    for _ in survey(root, NAMES, Ledger(tmp_path / "state", seconds=0), threads=1):
        break  # killed here
    first = list(inspected)
    found = dict(survey(root, NAMES, Ledger(tmp_path / "state", seconds=0), threads=1))
    assert "a.avi" not in inspected[len(first) :]
    assert len(found) == 3
    before = len(inspected)
    assert dict(survey(root, NAMES, Ledger(tmp_path / "state"), threads=1)) == found
    assert len(inspected) == before
    write_avi(root / "b.avi", np.full((4, 32, 48, 3), 9, np.uint8))
    again = dict(survey(root, NAMES, Ledger(tmp_path / "state"), threads=1))
    assert inspected[before:] == ["b.avi"]
    assert again["b.avi"].frames == 4  # type: ignore[union-attr]
