"""Score files that hold together, of this version and of those before."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.errors import DataError
from services.scores.files import EARLIER_FILE, SCORES_FILE, ScoreFile, packed, read_scores, write_scores

VALUES = ((0.1234567890123456789, 2e-300), (1.0, 0.0))
SCORES = ScoreFile(
    dataset="d", split=1, streams=("rgb",), seed=0, classes=("A", "B"), clips=("a/é", "b"),
    labels=np.array([0, 1]), scores=np.array(VALUES), kind="probabilities",
    protocol={"average": "probabilities"}, stage="0" * 64, views=25,
)  # fmt: skip
EARLIER: dict[str, Any] = {
    "dataset": "d", "split": 1, "streams": ["rgb"], "seed": 0, "classes": ["A", "B"], "clips": ["a", "b"],
    "labels": [0, 1], "scores": VALUES, "kind": "probabilities",
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_written_is_read_to_the_last_bit(tmp_path: Path, dtype: Any) -> None:
    written = replace(SCORES, scores=SCORES.scores.astype(dtype))
    write_scores(tmp_path, written)
    found = read_scores(tmp_path)
    assert packed(found) == packed(written) == (tmp_path / SCORES_FILE).read_bytes()
    assert (found.scores.dtype, found.values.dtype, found.views, found.clips) == (dtype, np.float64, 25, SCORES.clips)
    assert found.protocol == {"average": "probabilities"}


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / EARLIER_FILE).write_text(json.dumps(EARLIER))
    found = read_scores(tmp_path)
    assert found.scores.tolist() == [list(row) for row in VALUES]
    assert (found.labels.tolist(), found.clips, found.views, found.stage) == ([0, 1], ("a", "b"), None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0]}, r"2 clips, labels of shape \(1,\) and scores of shape \(2, 2\) for 2 classes"),
        ({"scores": [[0.1, 0.9], [1.0]]}, r"scores\.json: no score file"),
        ({"scores": [[0.1, 0.9], [float("inf"), 0]]}, "clip b has a score that is no finite number"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / EARLIER_FILE).write_text(json.dumps(EARLIER | change))
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path)


def test_a_score_that_is_no_number_is_refused_in_an_archive_too(tmp_path: Path) -> None:
    write_scores(tmp_path, replace(SCORES, scores=np.array([[0.1, 0.9], [np.nan, 0]])))
    with pytest.raises(DataError, match=r"scores\.npz: clip b has a score that is no finite number"):
        read_scores(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut off", b"\x80\x04N."])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SCORES_FILE).write_bytes(content)
    with pytest.raises(DataError, match=r"scores\.npz: no score file"):
        read_scores(tmp_path)
