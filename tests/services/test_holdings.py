"""What stages have left of a dataset, from what Postgres holds of them."""

from __future__ import annotations

from sqlalchemy import text

from services import holdings, revisions
from services.db.engine import Database
from services.queue import attempts
from services.queue.claim import Claim
from services.specs import FlowSpec, FusionSpec
from tests.services.conftest import Decreed, small_spec, submit


def test_flow_and_features_are_counted_by_what_made_them(database: Database) -> None:
    flow = FlowSpec(algorithm="farneback", shards=2)
    submit(database, small_spec(streams=("rgb", "flow"), flow=flow, fusion=FusionSpec(method="probabilities")))
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        with database.transaction() as session:
            usage = attempts.Usage(disk_bytes=1000 * (1 + len(claim.label) % 2))
            summary = {"made": claim.kind}
            attempts.succeed(session, claim.key, claim.attempt, summary=summary, output="x", log="", usage=usage)

    with database.transaction() as session:
        before = holdings.of_dataset(session, "motion_shapes")
    labels = []
    while (claim := worker.claim_any()) is not None and claim.kind != "score":
        labels.append(claim.label)
        end(claim)
    with database.transaction() as session:
        found = holdings.of_dataset(session, "motion_shapes")
        none = holdings.of_dataset(session, "another")
        survey = revisions.survey(session, "motion_shapes")
    assert {each.what: (each.outputs, each.unfinished) for each in before} == {
        "extract tiny flow": (0, 1), "extract tiny rgb": (0, 1), "flow farneback": (0, 2),
    }  # fmt: skip
    assert none == []
    assert [(each.what, each.outputs, each.evicted, each.unfinished) for each in found] == [
        ("extract tiny flow", 1, 0, 0), ("extract tiny rgb", 1, 0, 0), ("flow farneback", 2, 0, 0),
    ]  # fmt: skip
    sizes = {label: 1000 * (1 + len(label) % 2) for label in labels}
    expected = sum(size for label, size in sizes.items() if label.startswith("flow"))
    assert found[-1].bytes == expected
    assert all(each.made_at is not None for each in found)
    assert survey is not None
    assert survey.kind == "index"
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET state = 'evicted' WHERE kind = 'flow'"))
        [flow_now] = [each for each in holdings.of_dataset(session, "motion_shapes") if each.what == "flow farneback"]
    assert (flow_now.outputs, flow_now.evicted, flow_now.bytes) == (0, 2, None)


def test_they_are_found_by_an_index_among_all_stages(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        for query in (holdings.HELD.text.replace(":dataset", "'x'"), SURVEY):
            plan = "\n".join(session.scalars(text(f"EXPLAIN {query}")))
            assert "ix_stage_data" in plan
            assert "Seq Scan on stage" not in plan


SURVEY = "SELECT * FROM stage WHERE kind = 'index' AND params ->> 'dataset' = 'x' AND finished_at IS NOT NULL"
