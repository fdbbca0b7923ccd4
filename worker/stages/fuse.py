"""Stage ``fuse``: score files of one split and seed, joined by clip id, become the numbers of the leaderboard.

Torch-free. Two streams are fused late, by one of the rules of ``services/scores/fusion.py``.

A single score file, of one stream or of a network that saw both (``features``, TS-LSTM), passes as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from services.datasets.official import categories_of
from services.scores.files import Labels, ScoreFile, Scores, read_scores, score_file, write_scores
from services.scores.fusion import aligned, confidences, fused_scores, kind_of, own_stream
from services.stages import FuseParams
from services.stores.files import write_atomically
from worker.contract import Reporter, Task
from worker.stages.metrics import Metrics, measure

RESULTS_FILE = "results.json"
REPORTED = ("stream", "split", "seed", "metrics", "per_category")  # what the service reads of a result
MOST = np.iinfo(np.uint16).max


def run(task: Task, params: FuseParams, report: Reporter) -> dict[str, Any]:
    """Write ``results.json`` and ``scores.npz`` of the whole system.

    There is an entry for each stream and one for both; of an ensemble there is one.

    Returns:
        ``results``: for each entry its stream, split, seed, metrics, accuracies by category where there are any, and
        ``predictions``: the predicted label of each clip, and how many classes stand before its own;
        ``confidences``: the probability of each predicted label, in units of 1/65,535.
        ``truth``: what they are compared with: the names of the ``classes``, the ``labels`` of the ``ids``, and the
        SHA-256 of those as ``clips``.
        Clips are in the order of their ids; numbers are of 16 bits, the lower byte first, in base64.

    Raises:
        DataError: score files of other clips, labels or classes.
        UserError: logits are asked for where only probabilities are, or all weights are 0.
    """
    entries = task.inputs_of("score") if params.members is None else [task.input(m.name) for m in params.members]
    systems = aligned([(str(score_file(entry.path)), read_scores(entry.path)) for entry in entries])
    if params.members is not None:
        assert all(file.split == params.split for file in systems), "the plan joins scores of one split"
        systems = [replace(fuse(systems, params, task.key), seed=params.seed)]  # brought ones stand for every seed
    elif len(systems) > 1:
        systems.append(fuse(systems, params, task.key))
    report.progress(1, 1, "systems")
    names = [*map(own_stream, systems[:-1]), _name(systems[-1], params)]
    measured = [measure(system.values, system.truth, categories_of(system.classes)) for system in systems]
    results = [_result(system, name, found) for system, name, found in zip(systems, names, measured, strict=True)]
    write_atomically(task.output / RESULTS_FILE, json.dumps(results).encode())
    write_scores(task.output, systems[-1])
    order = sorted(range(len(systems[-1].clips)), key=systems[-1].clips.__getitem__)
    reported = [
        {
            **{name: result[name] for name in REPORTED},
            "predictions": _packed(found.answers[order]),
            "confidences": _packed(np.rint(confidences(system)[order] * MOST)),
        }
        for system, result, found in zip(systems, results, measured, strict=True)
    ]
    return {"results": reported, "truth": _truth(systems[-1], order)}


def fuse(files: Sequence[ScoreFile], params: FuseParams, stage: str | None = None) -> ScoreFile:
    """Fuse the scores of several streams, or of an ensemble's members, that hold the same clips in the same order."""
    assert params.method != "features", "the plan feeds `features` one score file of both streams"
    members = params.members
    weights = [_weight(file, params) for file in files] if members is None else [each.weight for each in members]
    values = fused_scores(files, params.method, weights)
    streams = tuple(dict.fromkeys(stream for file in files for stream in file.streams))
    fused = replace(files[0], streams=streams, scores=values, kind=kind_of(params.method))
    return replace(fused, protocol=None, views=None, stage=stage)  # each of the files says its own


def _weight(file: ScoreFile, params: FuseParams) -> float:
    return params.weights[own_stream(file)]


def _name(system: ScoreFile, params: FuseParams) -> str:
    if len(params.weights) == 1:  # also of a network of rgb that flow steers
        return next(iter(params.weights))
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
    ids = [system.clips[index] for index in order]
    return {
        "classes": list(system.classes),
        "labels": _packed(system.truth[order]),
        "clips": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "ids": ids,
    }


def _packed(numbers: Labels | Scores) -> str:
    assert numbers.max(initial=0) <= MOST, "labels and ranks are below the number of classes, probabilities at most 1"
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()
