"""`models.load`: a trained system out of its file, which says what it sees in a clip."""

from __future__ import annotations

import importlib
import os
from typing import Any

PREDICTOR = "worker.prediction"
"""What runs a system on clips: it decodes video and computes flow, and so stands above this package, which knows it by
name alone (decision 0020)."""


def load(path: str | os.PathLike[str], **options: Any) -> Any:
    """Return the system of a model bundle, a `worker.prediction.Predictor`.

    ``models.load("system.zip").predict("clip.avi")[0].top()`` gives the five likeliest classes. It needs neither the
    database nor a server, and runs nothing that the file holds.

    Args:
        path: of the bundle, which ``twostream export`` writes.
        options: ``device`` (``auto``, ``cpu``, ``cuda``) and ``threads``.

    Raises:
        services.errors.DataError: the file is missing, damaged, cut off, no bundle, or a newer version's.
    """
    return importlib.import_module(PREDICTOR).load(path, **options)
