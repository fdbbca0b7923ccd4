"""How long does GET /compare take for two results of UCF101's size, over the floor of a request that does nothing?

Predictions of 3,783 clips of 101 classes, with the groups of UCF101's names and without any, recorded as the service
does. GET /results/{id} and GET /compare/controlled of four heads stand beside it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

import httpx
import numpy as np

from benchmarks import report
from benchmarks.requests import timed
from benchmarks.stack import running
from services.board import predictions, results
from services.board.means import Measured, rows
from services.db.engine import Database, Session
from services.db.tables import (
    ExperimentRow,
    ExperimentStageRow,
    ExperimentStreamRow,
    ProtocolRow,
    StageInputRow,
    StageRow,
)
from services.revisions import Revision
from services.specs import ExperimentSpec

CLIPS, CLASSES, HEADS = 3783, 101, 5
SPEC = ExperimentSpec(dataset="motion_shapes").model_dump(mode="json")
DIGEST = "0" * 64


def names(grouped: bool) -> list[str]:
    """Return clip ids in order: of 7 groups a class, or of none."""
    form = "C{0:03d}/v_C{0:03d}_g{1:02d}_c{2:02d}" if grouped else "C{0:03d}/{1}-{2}"
    found = [(row * CLASSES // CLIPS, row % 7, row // 7 % 100) for row in range(CLIPS)]
    return sorted(form.format(*each) + f"_{row:04d}" * (not grouped) for row, each in enumerate(found))


def record(session: Session, ids: Sequence[str], seed: int, extract: str) -> str:
    """Write an experiment with the result of one split, as `results.collect` would, and return its id."""
    rng = np.random.default_rng(seed)
    labels = np.array([int(name[1:4]) for name in ids])
    ranks = rng.geometric(0.9, CLIPS) - 1
    predicted = np.where(ranks == 0, labels, rng.integers(CLASSES, size=CLIPS))
    made = ExperimentRow(id=f"exp_{secrets.token_hex(6)}", name="x", owner="o", dataset="motion_shapes", spec=SPEC)
    made.body_digest, made.state = "", "succeeded"
    stage = StageRow(key=secrets.token_hex(32), kind="score", label="score", queue="gpu", owner="o", timeout_seconds=1)
    stage.params = {"split": 1, "seed": 0, "streams": ["rgb"]}
    session.add_all([made, stage])
    session.flush()
    session.add(ExperimentStageRow(experiment_id=made.id, stage_key=stage.key, position=0))
    session.add(StageInputRow(stage_key=stage.key, name="extract", input_key=extract, position=0))
    measurement = session.merge(ExperimentStreamRow(experiment_id=made.id, stream="rgb", protocol=DIGEST, model="m"))
    session.flush()
    entry = {
        "predictions": _packed(np.stack([predicted, ranks], axis=1)),
        "confidences": _packed(rng.random(CLIPS) * 65535),
    }
    truth = {
        "classes": [f"C{label:03d}" for label in range(CLASSES)],
        "labels": _packed(labels),
        "clips": ids[0],
        "ids": ids,
    }
    kept = predictions.keep(session, {"results": [entry], "truth": truth})["results"][0]["predictions"]
    values = {"top1": float((ranks == 0).mean()), "top5": float((ranks < 5).mean()), "mean_class": 0.9}
    measured = Measured("rgb", 1, 0, values, {}, CLIPS, stage.key, prediction=kept)
    revision = Revision(1, (1, 2, 3), 0, ())
    results.write(session, made, measurement, revision, rows([measured], revision))
    return made.id


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()


def fill(database: Database, grouped: bool) -> list[str]:
    """Write a few experiments on the same features."""
    with database.transaction() as session:
        session.merge(ProtocolRow(digest=DIGEST, fields={}, line="protocol"))
        extract = StageRow(key=secrets.token_hex(32), kind="extract", label="e", queue="gpu", owner="o")
        extract.params, extract.timeout_seconds = {}, 1
        session.add(extract)
        session.flush()
        return [record(session, names(grouped), seed, extract.key) for seed in range(HEADS)]


def measure(api: httpx.Client, ids: Sequence[str], what: str, floor: Sequence[float]) -> None:
    """Print the figures of one kind of clips."""
    asked = "split=1&stream=rgb"
    line = timed(lambda: api.get(f"/compare?left={ids[0]}&right={ids[1]}&{asked}"), 200)
    report.line(f"GET /compare, {CLIPS:,} clips{what}", line, floor, "goal <= 100 ms")
    line = timed(lambda: api.get(f"/compare/controlled?baseline={ids[0]}&others={','.join(ids[1:])}&{asked}"), 200)
    report.line(f"GET /compare/controlled, {HEADS - 1} heads{what}", line, floor)
    result = api.get(f"/experiments/{ids[0]}/results").json()[0]["id"]
    report.line(f"GET /results/{{id}}{what}", timed(lambda: api.get(f"/results/{result}"), 200), floor)


def main() -> None:
    """Print the figures."""
    print(report.machine())
    with running("--no-worker", parts=frozenset({"api"})) as stack:
        floor = timed(lambda: stack.api.get("/health/live"), 200)
        report.line("GET /health/live (floor)", floor)
        database = Database(stack.database_url, patience_seconds=60)
        for grouped, what in ((True, ", groups"), (False, "")):
            measure(stack.api, fill(database, grouped), what, floor)
        database.close()


if __name__ == "__main__":
    main()
