"""Weights that another stage trains: planned along, shared, remade, and refused where there are none."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from services import registry
from services.db.engine import Database
from services.db.tables import ExperimentStageRow, ResultRow, StageInputRow, StageRow
from services.errors import Cause, InvalidRequest
from services.planning.plan import plan
from services.planning.sources import Sources
from services.planning.submission import Submitted
from services.queue import experiments
from services.recipes import RECIPES, resolve
from services.specs import BackboneSpec, EndToEndSpec, ExperimentSpec, FinetuneSpec, VideoLSTM
from tests.services.conftest import Decreed, small_spec, submit

RECIPE = {"recipe": "demo_ts_lstm", "split": 1}


@pytest.fixture
def other(database: Database) -> Database:
    """A database with a second dataset."""
    with database.transaction() as session:
        registry.add(session, name="other", root="/clips", annotations="/lists", splits=[1, 2, 3])
    return database


def starting(weights: object, **changes: Any) -> ExperimentSpec:
    """An experiment on the other dataset whose fine-tuning starts from a stage's weights."""
    backbone = BackboneSpec.model_validate({"name": "tiny", "weights": weights})
    return small_spec(**{"dataset": "other", "backbone": backbone, "splits": (1, 2)} | changes)


def stages(database: Database, made: Submitted) -> dict[str, StageRow]:
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id == made.row.id)
        .order_by(ExperimentStageRow.position)
    )
    with database.transaction() as session:
        return {row.label: row for row in session.scalars(query)}


def edges(database: Database, row: StageRow) -> dict[str, str]:
    with database.transaction() as session:
        found = session.scalars(select(StageInputRow).where(StageInputRow.stage_key == row.key))
        return {edge.name: edge.input_key for edge in found}


def state_of(database: Database, made: Submitted) -> str:
    with database.transaction() as session:
        return experiments.get(session, made.row.id).state


def test_the_stage_of_a_recipe_is_planned_along_and_shared(other: Database) -> None:
    demo = submit(other, RECIPES["demo_ts_lstm"].spec)
    trained = stages(other, demo)["finetune tiny rgb, split 1, seed 0"]
    first, second = (submit(other, starting(RECIPE, name=name, seeds=(3, 4))) for name in ("a", "b"))
    for made in (first, second):
        found = stages(other, made)
        tuned = [row for label, row in found.items() if label.startswith("finetune") and row.key != trained.key]
        assert len(tuned) == 4  # two splits, two seeds
        assert {edges(other, row)["weights"] for row in tuned} == {trained.key}
        assert {row.params["backbone"]["weights"] for row in tuned} == {"none"}
        assert {"index other", "index motion_shapes", trained.label} <= found.keys()
        assert not any(label.startswith("flow") for label in found)
    assert stages(other, first).keys() == stages(other, second).keys()


def test_a_stage_that_nobody_planned_before_names_its_dataset(other: Database) -> None:
    found = stages(other, submit(other, starting(RECIPE)))
    assert "finetune tiny rgb, split 1, seed 0, on motion_shapes" in found
    assert [label for label in found if label.startswith("finetune") and label.endswith("motion_shapes")] != []


def test_results_are_those_of_the_own_dataset(other: Database) -> None:
    made = submit(other, starting(RECIPE))
    Decreed(other).run_all()
    assert state_of(other, made) == "succeeded"
    with other.transaction() as session:
        rows = session.scalars(select(ResultRow).where(ResultRow.experiment_id == made.row.id)).all()
    assert {row.dataset for row in rows} == {"other"}
    assert {row.revision for row in rows} == {1}


def test_the_stage_of_an_experiment_is_taken_as_it_is(other: Database) -> None:
    tuned = BackboneSpec(name="tiny", finetune=FinetuneSpec(epochs=3))
    earlier = submit(other, small_spec(backbone=tuned, splits=(2,), seeds=(7,)))
    Decreed(other).run_all()
    source = {"experiment": earlier.row.id, "split": 2}
    made = submit(other, starting(source, splits=(1,)))
    assert made.row.reused_stages == 2  # index and finetune
    row = stages(other, made)["finetune tiny rgb, split 1, seed 0"]
    assert edges(other, row)["weights"] == stages(other, earlier)["finetune tiny rgb, split 2, seed 7"].key
    frozen = BackboneSpec.model_validate({"name": "tiny", "weights": source, "finetune": None})
    extracted = stages(other, submit(other, small_spec(dataset="other", backbone=frozen)))
    extract = next(row for label, row in extracted.items() if label.startswith("extract"))
    assert edges(other, extract)["finetune"] == edges(other, row)["weights"]


def test_a_backbone_comes_from_a_network_that_was_trained_end_to_end(other: Database) -> None:
    along = BackboneSpec(name="tiny", finetune=None, end_to_end=EndToEndSpec())
    earlier = submit(other, small_spec(model={"kind": "tsn"}, backbone=along))
    made = submit(other, starting({"experiment": earlier.row.id, "split": 1, "part": "model"}))
    row = stages(other, made)["finetune tiny rgb, split 1, seed 0"]
    assert edges(other, row)["weights"] == stages(other, earlier)["train tsn rgb end to end, split 1, seed 0"].key


@pytest.mark.parametrize("state", ["failed", "evicted"])
def test_a_stage_that_failed_or_was_evicted_is_made_again(other: Database, state: str) -> None:
    tuned = BackboneSpec(name="tiny", finetune=FinetuneSpec(epochs=3))
    earlier = submit(other, small_spec(backbone=tuned))
    worker = Decreed(other)
    label = "finetune tiny rgb, split 1, seed 0"
    if state == "failed":
        worker.run_all(
            lambda claim: worker.fail(claim, Cause.USER_ERROR) if claim.label == label else worker.succeed(claim)
        )
    else:
        worker.run_all()
        with other.transaction() as session:
            key = stages(other, earlier)[label].key
            session.execute(update(StageRow).where(StageRow.key == key).values(state="evicted", output=None))
    made = submit(other, starting({"experiment": earlier.row.id, "split": 1}, splits=(1,)))
    assert worker.run_all().count(label) == 2  # the source, and what starts from it
    assert state_of(other, made) == "succeeded"


def test_a_network_is_assembled_from_stages_of_several_recipes(other: Database) -> None:
    with other.transaction() as session:
        registry.add(session, name="ucf101", root="/ucf101", annotations="/lists", splits=[1, 2, 3])
    parts = [
        {"recipe": "conv_lstm_ucf101", "stream": "flow", "into": "motion"},
        {"recipe": "conv_alstm_ucf101", "stream": "rgb", "into": "appearance"},
    ]
    spec, _ = resolve({"recipe": "video_lstm_ucf101", "model": {"weights": parts}, "flow_stream": None})
    assert isinstance(spec.model, VideoLSTM)
    found = stages(other, submit(other, spec))
    row = found["train video_lstm rgb+flow, split 1, seed 0"]
    inputs = edges(other, row)
    assert inputs["model/0/motion"] == found["train conv_lstm flow, split 1, seed 0"].key
    assert inputs["model/1/appearance"] == found["train conv_alstm rgb, split 1, seed 0"].key
    assert row.params["model"]["weights"] == "none"
    plain = stages(other, submit(other, resolve({"recipe": "video_lstm_ucf101", "flow_stream": None})[0]))
    assert plain["train video_lstm rgb+flow, split 1, seed 0"].key != row.key
    assert plain.keys() < found.keys()


def test_every_recipe_can_be_planned(other: Database) -> None:
    with other.transaction() as session:
        for name in ("ucf101", "hmdb51"):
            registry.add(session, name=name, root=f"/{name}", annotations="/lists", splits=[1, 2, 3])
        labels = {}
        for name, recipe in RECIPES.items():
            spec = recipe.spec
            planned = plan(spec, registry.index_params_for(session, spec), sources=Sources(session, spec.dataset))
            labels[name] = [stage.label for stage in planned]
    on_ucf101 = [name for name, found in labels.items() if name.endswith("hmdb51") and "index ucf101" in found]
    assert on_ucf101 == [
        name for name in RECIPES if name.endswith("hmdb51") and not name.startswith(("tsn", "memory", "relational"))
    ]
    assert "train conv_lstm flow, split 1, seed 0, on ucf101" in labels["conv_lstm_hmdb51"]
    assert "train tsn flow end to end, split 1, seed 0" in labels["relational_lstm_standalone_ucf101"]


def test_more_segments_are_a_change_of_a_few_fields() -> None:
    """Relational LSTM, Table 2."""
    for count in (6, 10, 12):
        changes = {
            "model": {"segments": count},
            "backbone": {"end_to_end": {"snippets": count}},
            "evaluation": {"frames": count},
            "flow_stream": {"model": {"segments": count}},
        }
        spec, _ = resolve({"recipe": "relational_lstm_ucf101", **changes})
        assert [network.model.least_steps for network in spec.networks] == [count, count]


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"recipe": "demo"}, "backbone.weights.recipe", "ts_lstm_ucf101, "),
        ({"recipe": "demo_ts_lstm", "dataset": "nothing"}, "backbone.weights.dataset", "motion_shapes, other"),
        ({"recipe": "ts_lstm_ucf101"}, "backbone.weights.dataset", "motion_shapes, other"),
        (
            {"recipe": "memory_ucf101", "dataset": "motion_shapes"},
            "backbone.weights.part",
            "model, since memory_ucf101",
        ),
        ({"experiment": "exp_0"}, "backbone.weights.experiment", "the id of an experiment"),
        ({"experiment": "{id}", "split": 3}, "backbone.weights.split", "1"),
        ({"experiment": "{id}", "seed": 3}, "backbone.weights.seed", "0"),
        ({"experiment": "{id}", "stream": "flow"}, "backbone.weights.stream", "rgb"),
        ({"experiment": "{id}"}, "backbone.weights.part", "model, since experiment exp_"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    other: Database, changes: dict[str, Any], field: str, allowed: str
) -> None:
    made = submit(other, small_spec())
    weights = {name: made.row.id if value == "{id}" else value for name, value in changes.items()}
    with pytest.raises(InvalidRequest) as caught:
        submit(other, starting(weights, splits=(1,)))
    assert caught.value.field == field
    assert caught.value.allowed.startswith(allowed)
