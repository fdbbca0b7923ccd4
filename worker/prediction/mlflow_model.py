"""What ``mlflow.pyfunc`` loads of a model that `services.bundles.mlflow_model` wrote; MLflow calls it by name."""

from __future__ import annotations

from typing import Any

from worker.prediction.predictor import Predictor, load


def _load_pyfunc(path: str) -> ClipClassifier:
    """Return the system of a bundle, as MLflow asks for it."""
    return ClipClassifier(load(path))


class ClipClassifier:
    """Gives a frame of paths the probabilities of each class."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 - MLflow gives it
        """Return a frame ``(N, K)`` of probabilities, a column for each class.

        Args:
            frame: a pandas frame with a column ``clip``, the paths of N clips.
            params: none are known.
        """
        found = self._predictor.predict(*frame["clip"])
        rows = [each.probabilities.tolist() for each in found]
        return type(frame)(rows, columns=[*self._predictor.classes], index=frame.index)
