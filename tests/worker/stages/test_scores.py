"""Score files that hold together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.errors import DataError
from worker.stages.scores import SCORES_FILE, ScoreFile, log_softmax, read_scores, write_scores

SCORES = ScoreFile(
    dataset="d", split=1, streams=("rgb",), seed=0, classes=("A", "B"), clips=("a", "b"), labels=(0, 1),
    scores=((0.1234567890123456789, 2e-300), (1.0, 0.0)), kind="probabilities",
)  # fmt: skip


def test_what_was_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    write_scores(tmp_path, SCORES)
    assert read_scores(tmp_path) == SCORES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0]}, "2 clips, 1 labels, 2 rows"),
        ({"scores": [[0.1, 0.9], [1.0]]}, r"rows of \[1, 2\] scores for 2 classes"),
        ({"scores": [[0.1, 0.9], [float("inf"), 0]]}, "clip b has a score that is no finite number"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / SCORES_FILE).write_text(json.dumps(SCORES.model_dump(mode="json") | change))
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path)


def test_log_softmax_bears_large_logits() -> None:
    np.testing.assert_allclose(log_softmax(np.array([[1e4, 1e4 - 1.0]])), [[-0.31326169, -1.31326169]])
