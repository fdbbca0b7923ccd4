"""An ensemble of a trained stream and scores from elsewhere, by hand."""

from typing import Any

import numpy as np
import pytest

from services.scores.external import ExternalScores
from services.scores.files import ScoreKind, read_scores, write_scores
from services.scores.official import OfficialClips, checked
from tests.worker.stages.conftest import frames
from worker.contract import StageInput

WEIGHTS = (0.7, 1.8)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def by_hand(method: str, trained: np.ndarray, brought: np.ndarray) -> np.ndarray:
    """Fuse probabilities of a trained stream and logits from elsewhere."""
    first, second = WEIGHTS
    if method == "probabilities":
        return (first * trained + second * softmax(brought)) / (first + second)
    powers = trained**first * softmax(brought) ** second
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["probabilities", "product"])
def test_an_uploaded_file_fused_with_a_trained_stream_is_what_numpy_says(
    stages: Any, dataset: Any, learn: Any, tmp_path: Any, method: str
) -> None:
    manifest = dataset[0]
    seen = frames(snippets=2, augmentation=False)
    _, scored = learn({"kind": "tsn", "segments": 2}, seen=seen, viewed=frames(frames=3))
    trained = read_scores(scored.output)
    rng = np.random.default_rng(3)
    order, logits = rng.permutation(len(trained.clips)), rng.normal(size=(len(trained.clips), 2)) * 5
    paths = {f"{clip}.avi": clip for clip in trained.clips}
    test = OfficialClips("d", 1, manifest.classes, trained.clips, tuple(trained.truth.tolist()), paths)
    file = ExternalScores(
        tuple(f"{trained.clips[row]}.avi" for row in order), manifest.classes[::-1], logits[order][:, ::-1], None
    )
    kind: ScoreKind = "logits"
    (tmp_path / "brought").mkdir()
    write_scores(tmp_path / "brought", checked(file, test, ("flow",), kind))
    inputs = (
        scored.as_input("member/0"),
        StageInput(name="member/1", kind="score", key="2" * 64, path=tmp_path / "brought"),
    )
    members = [{"name": entry.name, "weight": weight} for entry, weight in zip(inputs, WEIGHTS, strict=True)]
    params = {"dataset": "d", "split": 1, "seed": 2, "method": method, "weights": {}, "members": members}
    finished = stages.run("fuse", params, inputs)
    found, expected = read_scores(finished.output), by_hand(method, trained.values, logits)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    assert np.abs(expected - trained.values).max() > 0.1
    [result] = finished.summary["results"]
    assert (result["stream"], result["split"], result["seed"]) == ("two-stream", 1, 2)
    assert result["metrics"]["top1"] == np.mean(expected.argmax(1) == found.truth)
