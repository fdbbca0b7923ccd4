"""Stage ``fuse``: score files of one split and seed, joined by clip id, become the numbers of the leaderboard.

Torch-free. Two streams are fused late, by one of three rules over classes k and streams s of weight w_s:

    probabilities   sum_s w_s p_s(k) / sum_s w_s             (MATDL)
    logits          sum_s w_s z_s(k) / sum_s w_s             (Relational LSTM, TSN)
    product         softmax over k of sum_s w_s log p_s(k)   (VideoLSTM)

A single score file, of one stream or of a network that saw both (``features``, TS-LSTM), passes as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.datasets.official import categories_of
from services.errors import DataError, UserError
from services.specs import Stream
from services.stages import FuseParams
from services.stores.files import write_atomically
from worker.contract import Reporter, Task
from worker.stages.metrics import Metrics, measure
from worker.stages.scores import (
    SCORES_FILE,
    Labels,
    ScoreFile,
    ScoreKind,
    Scores,
    log_softmax,
    read_scores,
    write_scores,
)

RESULTS_FILE = "results.json"
REPORTED = ("stream", "split", "seed", "metrics", "per_category")  # what the service reads of a result
MOST = np.iinfo(np.uint16).max
SMALLEST = np.finfo(np.float64).tiny  # a probability of 0 has no logarithm


def run(task: Task, params: FuseParams, report: Reporter) -> dict[str, Any]:
    """Write ``results.json``, one entry for each stream and one for both, and ``scores.json`` of the whole system.

    Returns:
        ``results``: for each entry its stream, split, seed, metrics, accuracies by category where there are any, and
        ``predictions``: the predicted label of each clip, and how many classes stand before its own.
        ``truth``: what they are compared with: the names of the ``classes``, the ``labels`` of the clips, and the
        SHA-256 of the clips' ids.
        Clips are in the order of their ids; numbers are of 16 bits, the lower byte first, in base64.

    Raises:
        DataError: score files of other clips, labels or classes.
        UserError: logits are asked for where only probabilities are, or all weights are 0.
    """
    systems = _aligned([(entry.path, read_scores(entry.path)) for entry in task.inputs_of("score")])
    if len(systems) > 1:
        systems.append(fuse(systems, params))
    report.progress(1, 1, "systems")
    names = [*map(_own_stream, systems[:-1]), _name(systems[-1])]
    measured = [measure(system.values, system.truth, categories_of(system.classes)) for system in systems]
    results = [_result(system, name, found) for system, name, found in zip(systems, names, measured, strict=True)]
    write_atomically(task.output / RESULTS_FILE, json.dumps(results).encode())
    write_scores(task.output, systems[-1])
    order = sorted(range(len(systems[-1].clips)), key=systems[-1].clips.__getitem__)
    reported = [
        {**{name: result[name] for name in REPORTED}, "predictions": _packed(found.answers[order])}
        for result, found in zip(results, measured, strict=True)
    ]
    return {"results": reported, "truth": _truth(systems[-1], order)}


def fuse(files: Sequence[ScoreFile], params: FuseParams) -> ScoreFile:
    """Fuse the scores of several streams that hold the same clips in the same order."""
    weights = np.array([_weight(file, params) for file in files])
    if weights.sum() <= 0:
        raise UserError(f"fusion: got weights {weights.tolist()}, allowed: at least one above 0")
    kind: ScoreKind = "probabilities"
    if params.method == "logits":
        kind, values = "logits", _weighted([_logits(file) for file in files], weights / weights.sum())
    elif params.method == "product":
        values = np.exp(log_softmax(_weighted([_log_probabilities(file) for file in files], weights)))
    else:
        assert params.method == "probabilities", "the plan feeds `features` one score file of both streams"
        values = _weighted([np.exp(_log_probabilities(file)) for file in files], weights / weights.sum())
    streams = tuple(dict.fromkeys(stream for file in files for stream in file.streams))
    rows = tuple(map(tuple, values.tolist()))
    return files[0].model_copy(update={"streams": streams, "scores": rows, "kind": kind})


def _weight(file: ScoreFile, params: FuseParams) -> float:
    return params.weights[_own_stream(file)]


def _own_stream(file: ScoreFile) -> Stream:
    """Return the stream of a network among others; one that sees both stands for rgb (VideoLSTM)."""
    return "flow" if file.streams == ("flow",) else "rgb"


def _weighted(parts: Sequence[Scores], weights: Scores) -> Scores:
    total: Scores = np.einsum("s,snk->nk", weights, np.stack(parts))
    return total


def _logits(file: ScoreFile) -> Scores:
    if file.kind != "logits":
        raise UserError(
            f"fusion.method: got 'logits' for {file.streams[0]} scores that are probabilities, allowed: 'probabilities'"
            " or 'product'; hint: evaluation.average: logits keeps logits"
        )
    return file.values


def _log_probabilities(file: ScoreFile) -> Scores:
    if file.kind == "logits":
        return log_softmax(file.values)
    logarithms: Scores = np.log(np.maximum(file.values, SMALLEST))
    return logarithms


def _aligned(inputs: Sequence[tuple[Path, ScoreFile]]) -> list[ScoreFile]:
    """Return the files with the rows of all in the first one's order of clips, which, like labels, must be the same."""
    (first_path, first), *others = inputs
    files = [first]
    for path, other in others:
        if other.classes != first.classes:
            raise DataError(f"{path / SCORES_FILE} and {first_path / SCORES_FILE}: the classes differ")
        rows = {clip: row for row, clip in enumerate(other.clips)}
        for clip in sorted(rows.keys() ^ set(first.clips)):
            raise DataError(f"{(first_path if clip in rows else path) / SCORES_FILE}: no scores of clip {clip}")
        for clip, label in zip(first.clips, first.labels, strict=True):
            if other.labels[rows[clip]] != label:
                raise DataError(
                    f"{path / SCORES_FILE}: clip {clip} has label {other.labels[rows[clip]]},"
                    f" {first_path / SCORES_FILE} says {label}"
                )
        scores = tuple(other.scores[rows[clip]] for clip in first.clips)
        files.append(other.model_copy(update={"clips": first.clips, "labels": first.labels, "scores": scores}))
    return files


def _name(system: ScoreFile) -> str:
    return system.streams[0] if len(system.streams) == 1 else "two-stream"


def _result(system: ScoreFile, stream: str, metrics: Metrics) -> dict[str, Any]:
    return {
        "stream": stream,
        "split": system.split,
        "seed": system.seed,
        "metrics": metrics.numbers(),
        "per_class": {system.classes[label]: value for label, value in metrics.per_class.items()},
        "per_category": metrics.per_category,
    }


def _truth(system: ScoreFile, order: Sequence[int]) -> dict[str, Any]:
    ids = "\n".join(system.clips[index] for index in order)
    return {
        "classes": list(system.classes),
        "labels": _packed(system.truth[order]),
        "clips": hashlib.sha256(ids.encode()).hexdigest(),
    }


def _packed(numbers: Labels) -> str:
    assert numbers.max(initial=0) <= MOST, "labels and ranks are below the number of classes"
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()
