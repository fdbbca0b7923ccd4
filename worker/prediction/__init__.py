"""Classes of clips by a model bundle, on this machine alone: no database, no server. Open ``predictor`` first."""

from worker.prediction.predictor import Predictor, load

__all__ = ["Predictor", "load"]
