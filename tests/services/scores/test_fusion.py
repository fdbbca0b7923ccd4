"""The rules of fusion on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from services.scores.files import ScoreFile, ScoreKind
from services.scores.fusion import fused_scores, log_softmax
from services.specs import Rule


def test_log_softmax_bears_large_logits() -> None:
    np.testing.assert_allclose(log_softmax(np.array([[1e4, 1e4 - 1.0]])), [[-0.31326169, -1.31326169]])


def scores(kind: ScoreKind, *rows: list[float]) -> ScoreFile:
    values = np.array(rows)
    clips, classes = tuple(f"c{row}" for row in range(len(rows))), tuple(f"k{at}" for at in range(values.shape[1]))
    return ScoreFile(
        dataset="d", split=1, streams=("rgb",), seed=0, classes=classes, clips=clips, labels=np.zeros(len(rows), int),
        scores=values, kind=kind,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["probabilities", "logits", "product"])
@pytest.mark.parametrize("large", [1e4, 1e38, 1e308])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1e6, 1e-300), (5e-324, 0.0)])
def test_scores_of_any_size_that_disagree_are_fused_to_finite_ones(
    rule: Rule, large: float, weights: tuple[float, float]
) -> None:
    """Each system is certain of another class, and neither of the third; no warning of NumPy either."""
    files = [scores("logits", [large, -large, -large]), scores("logits", [-large, large, -large])]
    fused = fused_scores(files, rule, weights)
    assert np.isfinite(fused).all()
    assert fused[0].argmax() == 0
    assert fused[0, 2] <= fused[0, :2].min()
