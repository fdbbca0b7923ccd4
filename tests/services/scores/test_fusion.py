"""The rules of fusion on arrays."""

import numpy as np

from services.scores.fusion import log_softmax


def test_log_softmax_bears_large_logits() -> None:
    np.testing.assert_allclose(log_softmax(np.array([[1e4, 1e4 - 1.0]])), [[-0.31326169, -1.31326169]])
