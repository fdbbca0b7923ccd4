"""What must be true after a fault: everything is there once, nothing runs that should not, and the bits are the same.

What experiments have left is taken down as items that are counted. What the undisturbed run has and another has not is
lost, what that one has beyond it is doubled; MLflow is compared with what it was to hear in the same way.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from services.journal.outbox import STATUS
from services.scores.files import packed, read_scores, score_file
from services.tracking import use
from tests.chaos.fleet import Fleet, Run, output_of

TIMED = ("epoch_seconds", "data_wait_ratio")
"""Curves that no two runs have in common."""

Item = tuple[Any, ...]

STAGES = """
    SELECT key, replace(label, experiment.dataset, 'DATASET') AS label, stage.state, output, experiment.dataset
    FROM stage JOIN experiment_stage ON stage_key = key JOIN experiment ON experiment.id = experiment_id
    WHERE experiment_id = :id
"""
ATTEMPTS = "SELECT stage_key, state FROM attempt WHERE stage_key = ANY(:keys) AND state <> 'failed'"
RESULTS = """
    SELECT result.stream, result.split, seed, metric, value, clips, prediction
    FROM result LEFT JOIN result_value ON result_id = result.id WHERE experiment_id = :id
"""
OUTBOX = """
    SELECT coalesce(outbox.stage_key, outbox.experiment_id) AS subject, outbox.kind, outbox.name, step,
        data ->> 'value' AS value, data ->> 'parent' AS parent, coalesce(stage.state, experiment.state) AS state,
        delivered_at IS NOT NULL AND error IS NULL AS heard
    FROM outbox LEFT JOIN stage ON stage.key = stage_key LEFT JOIN experiment ON experiment.id = experiment_id
    WHERE outbox.kind <> 'status' AND coalesce(outbox.stage_key, outbox.experiment_id) = ANY(:subjects)
"""
UNHEARD = "SELECT count(*) AS n FROM outbox WHERE delivered_at IS NULL"
RUNS = """
    SELECT runs.run_uuid, runs.experiment_id, runs.status, tags.value AS name
    FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'twostream.id' WHERE tags.value = ANY(:names)
"""
POINTS = "SELECT run_uuid, key, step, value FROM metrics WHERE run_uuid = ANY(:runs)"


@dataclass(frozen=True)
class Holdings:
    """What an experiment has left.

    Attributes:
        written: rows in Postgres and files in the artifact store, by names that are the same for equal work.
        told: what MLflow was to hear.
        heard: what MLflow has.
        bits: weights and scores.
    """

    written: Counter[Item]
    told: Counter[Item]
    heard: Counter[Item]
    bits: dict[str, bytes]


def take_stock(fleet: Fleet, run: Run) -> Holdings:
    """Return what a finished experiment has left, once MLflow has heard of everything."""
    stages = fleet.rows(STAGES, id=run.id)
    labels = {row.key: row.label for row in stages}
    told, heard = tracked(fleet, [run.id, *labels])
    written = Counter[Item](("stage", row.label, row.state) for row in stages)
    written.update(("attempt", labels[row.stage_key], row.state) for row in fleet.rows(ATTEMPTS, keys=list(labels)))
    written.update(("result", *row) for row in fleet.rows(RESULTS, id=run.id))
    for row in fleet.rows(OUTBOX, subjects=[run.id, *labels]):
        value = None if row.name in TIMED else row.value
        written["outbox", labels.get(row.subject), row.kind, row.name, row.step, value, row.heard] += 1
    written.update(("file", labels[key], *file) for key in labels for file in files(fleet, key))
    return Holdings(written, told, heard, {name: value for row in stages for name, value in bits(fleet, row).items()})


def files(fleet: Fleet, key: str) -> Iterator[Item]:
    """Yield what a stage has in the artifact store: one output in the end, and no state any more."""
    folder = fleet.home / "artifacts" / "stages" / key[:2] / key
    for path in folder.rglob("*"):
        if path.is_file():
            _, place, *rest = path.relative_to(folder).parts
            yield (place, "/".join(rest))


def tracked(fleet: Fleet, subjects: Sequence[str]) -> tuple[Counter[Item], Counter[Item]]:
    """Return what MLflow was to hear of experiments and stages, by id and key, and what it has.

    Its own tables are asked: they hold each point that was ever logged.
    """
    fleet.wait(lambda: fleet.rows(UNHEARD)[0].n == 0, "the delivery of the outbox")
    told, names = Counter[Item](), dict[str, str]()
    for row in fleet.rows(OUTBOX, subjects=list(subjects)):
        told[row.subject, row.kind, row.name, row.step, None if row.value is None else float(row.value)] += 1
        if row.kind == "open":
            names[row.subject if row.parent is None else f"{row.parent}/{row.subject}"] = row.subject
            told[row.subject, "status", STATUS[row.state]] += 1
    return told, Counter(_heard(fleet, names))


def _heard(fleet: Fleet, names: dict[str, str]) -> Iterator[Item]:
    with fleet.mlflow() as ask:
        runs = {row.run_uuid: row for row in ask(RUNS, names=list(names))}
        points = ask(POINTS, runs=list(runs))
    for run_id, run in runs.items():
        yield (names[run.name], "open", "", 0, None)
        yield (names[run.name], "status", run.status)
        for file in (fleet.home / "mlflow" / str(run.experiment_id) / run_id / "artifacts").glob("*"):
            yield (names[run.name], "artifact", file.name, 0, None)
    for point in points:
        if point.key.startswith(use.PREFIX):  # of machines: no two runs have them in common, and no row tells them
            continue
        yield (names[runs[point.run_uuid].name], "metric", point.key, point.step, point.value)


def bits(fleet: Fleet, stage: Any) -> dict[str, bytes]:
    """Return what a stage has trained, tensor by tensor, and its scores without the name of their dataset."""
    found: dict[str, bytes] = {}
    folder = fleet.home / "artifacts" / stage.output
    if (folder / "model.pt").is_file():
        state = torch.load(folder / "model.pt", weights_only=True)
        found |= {f"{stage.label}: {name}": tensor.numpy().tobytes() for name, tensor in state.items()}
    if score_file(folder).is_file():
        found[stage.label] = packed(replace(read_scores(folder), dataset="DATASET", stage=None))
    return found


def strays(fleet: Fleet) -> list[str]:
    """Return the processes of this home that should not be there while nothing runs: stages, and who has no parent.

    A process of ours is known by its standard output, which goes to a log file in the home.
    """
    workers = fleet.workers("alive")
    known = {fleet.up.process.pid, *workers}
    found = []
    for process in ours(fleet):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            above = {parent.pid for parent in process.parents()} | {process.pid}
            computes = output_of(process).startswith(str(fleet.home / "work"))
            if computes or not above & known:
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
    zygotes = {pid: len(psutil.Process(pid).children()) for pid in workers}
    return found + [f"worker {pid} has {number} children" for pid, number in zygotes.items() if number > 2]


def ours(fleet: Fleet) -> list[psutil.Process]:
    """Return the processes whose output goes below the home."""
    return [process for process in psutil.process_iter() if output_of(process).startswith(f"{fleet.home}/")]
