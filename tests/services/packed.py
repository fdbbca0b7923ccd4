"""What a `fuse` stage says of its clips, packed as `worker/stages/fuse.py` packs it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def packed(numbers: object) -> str:
    """Return numbers of 16 bits, the lower byte first, in base64."""
    return base64.b64encode(np.array(numbers, "<u2").tobytes()).decode()


def answered(
    entry: Mapping[str, Any], classes: Sequence[str], labels: Sequence[int], predicted: Sequence[int]
) -> dict[str, Any]:
    """Return the summary of a `fuse` stage with one result, whose clips were taken for ``predicted``."""
    ranks = [int(label != said) for label, said in zip(labels, predicted, strict=True)]
    answers = packed(np.stack([predicted, ranks], axis=1))
    truth = {"classes": list(classes), "labels": packed(labels), "clips": "0" * 64}
    return {"results": [{**entry, "predictions": answers}], "truth": truth}
