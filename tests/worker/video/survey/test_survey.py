import json
from pathlib import Path

import numpy as np
import pytest

from worker.video.decoding.decode import DecodeFailed
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey import survey as module
from worker.video.survey.inspection import Inspection
from worker.video.survey.isolation import Inspectors
from worker.video.survey.survey import Failure, SurveyLog, survey

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
    found = dict(survey(root, [*NAMES, "absent.avi"], SurveyLog(tmp_path / "state"), threads=2))
    assert list(found) == [*NAMES, "absent.avi"]
    assert [found[name].frames for name in ("a.avi", "c.avi")] == [5, 7]  # type: ignore[union-attr]
    assert isinstance(found["b.avi"], Failure)
    assert found["b.avi"].reason.startswith("Invalid data")
    assert found["absent.avi"] == Failure(0, "No such file or directory")


def test_a_later_run_inspects_what_is_left_or_has_changed(root: Path, tmp_path: Path, inspected: list[str]) -> None:
    for _ in survey(root, NAMES, SurveyLog(tmp_path / "state", seconds=0), threads=1):
        break  # killed here
    first = list(inspected)
    found = dict(survey(root, NAMES, SurveyLog(tmp_path / "state", seconds=0), threads=1))
    assert "a.avi" not in inspected[len(first) :]
    assert len(found) == 3
    write_avi(root / "b.avi", np.full((4, 32, 48, 3), 9, np.uint8))
    before = len(inspected)
    again = dict(survey(root, NAMES, SurveyLog(tmp_path / "state"), threads=1))
    assert inspected[before:] == ["b.avi"]
    assert again["b.avi"].frames == 4  # type: ignore[union-attr]
    assert dict(survey(root, NAMES, SurveyLog(tmp_path / "state"), threads=1)) == again
    write_avi(root / "a.avi", np.full((3, 32, 48, 3), 9, np.uint8))
    assert next(survey(root, NAMES, SurveyLog(tmp_path / "state"), threads=1))[1].frames == 3  # type: ignore[union-attr]
    assert inspected[before:] == ["b.avi", "a.avi"]


def test_a_failure_is_looked_into_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come from rights, or from a decoder that was killed, while the file stays what it is."""

    def killed(self: Inspectors, path: Path) -> Inspection:
        raise DecodeFailed(path, 3, "the decoder crashed: SIGKILL")

    with monkeypatch.context() as changed:
        changed.setattr(Inspectors, "inspect", killed)
        found = dict(survey(root, ["a.avi"], SurveyLog(tmp_path / "state"), threads=1))
        assert found["a.avi"] == Failure(3, "the decoder crashed: SIGKILL")
    found = dict(survey(root, ["a.avi"], SurveyLog(tmp_path / "state"), threads=1))
    assert found["a.avi"].frames == 5  # type: ignore[union-attr]


def test_findings_that_cannot_be_kept_or_read_cost_no_result(root: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_bytes(b"in the way")
    log = SurveyLog(state, seconds=0)
    found = dict(survey(root, NAMES, log, threads=1))
    assert len(found) == 3
    assert f"{state}: what clips hold cannot be kept for a later run" in log.trouble
    state.unlink()
    whole = SurveyLog(state, seconds=3600)
    assert dict(survey(root, NAMES, whole, threads=1)) == found
    assert whole.trouble == ""
    (file,) = state.iterdir()
    entries = json.loads(file.read_bytes())
    del entries["a.avi"]["found"]["sha256"]  # as another version has it
    file.write_text(json.dumps(entries))
    (state / "000001.json").write_bytes(b"half a fi")
    assert dict(survey(root, NAMES, SurveyLog(state), threads=1)) == found


def test_a_clip_that_changes_before_its_finding_is_kept_is_inspected_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overtaken(Inspectors):
        def inspect(self, path: Path) -> Inspection:
            found = super().inspect(path)
            write_avi(path, np.full((9, 32, 48, 3), 9, np.uint8))
            return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "Inspectors", Overtaken)
        found = dict(survey(root, ["a.avi"], SurveyLog(tmp_path / "state"), threads=1))
    assert found["a.avi"].frames == 5  # type: ignore[union-attr]
    again = dict(survey(root, ["a.avi"], SurveyLog(tmp_path / "state"), threads=1))
    assert again["a.avi"].frames == 9  # type: ignore[union-attr]
