"""What `fuse` stages say of each clip, made up, and recorded as the service records it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from services.db.engine import Database
from services.queue.claim import Claim
from tests.services.conftest import Decreed, small_spec, submit

Summary = dict[str, Any]


def packed(numbers: object) -> str:
    return base64.b64encode(np.array(numbers, "<u2").tobytes()).decode()


def summary(
    classes: Sequence[str],
    labels: Sequence[int],
    ranks: Sequence[int],
    *,
    predicted: Sequence[int] | None = None,
    confidences: Sequence[float] | None = None,
    ids: Sequence[str] | None = None,
    stream: str = "rgb",
    split: int = 1,
    seed: int = 0,
) -> Summary:
    """Return the summary of a `fuse` stage with one result; what is not right is the next label by default."""
    truth = np.array(labels)
    said = np.where(np.array(ranks) == 0, truth, (truth + 1) % len(classes)) if predicted is None else predicted
    rates = [np.mean(np.array(ranks)[truth == label] == 0) for label in np.unique(truth)]
    within = {name: float(np.mean(np.array(ranks) < most)) for name, most in (("top1", 1), ("top5", 5))}
    clips = hashlib.sha256("\n".join(ids or map(str, range(len(labels)))).encode()).hexdigest()
    metrics = {**within, "mean_class": float(np.mean(rates)), "correct": int((np.array(ranks) == 0).sum())}
    entry: Summary = {"stream": stream, "split": split, "seed": seed, "metrics": metrics | {"clips": len(labels)}}
    entry["predictions"] = packed(np.stack([said, ranks], axis=1))
    if confidences is not None:
        entry["confidences"] = packed(np.rint(np.array(confidences) * 65535))
    named = {} if ids is None else {"ids": list(ids)}
    return {"results": [entry], "truth": {"classes": list(classes), "labels": packed(labels), "clips": clips} | named}


def run(database: Database, said: Callable[[int, int], Summary], **changes: Any) -> str:
    """Submit the small spec with changes, end its stages, and return its id.

    Args:
        database: of the service.
        said: the summary of the `fuse` stage of a split and seed.
        changes: of the spec.
    """
    made = submit(database, small_spec(**changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        place = claim.params.get("split"), claim.params.get("seed")
        worker.succeed(claim, **(said(*place) if claim.kind == "fuse" else {}))

    worker.run_all(end)
    return made.id


def heads(*widths: int) -> list[Mapping[str, Any]]:
    """Return changes of a spec, each with a network of its own on the same features."""
    return [{"model": {"kind": "ts_lstm", "hidden": [width]}, "name": f"width {width}"} for width in widths]
