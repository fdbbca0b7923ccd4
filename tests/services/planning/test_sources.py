"""Weights that another stage trains: planned along, shared, remade, and refused where there are none."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
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
        ({"recipe": "demo_ts_lstm", "dataset": "nothing"}, "backbone.weights.dataset", "one of motion_shapes, other"),
        ({"recipe": "ts_lstm_ucf101"}, "backbone.weights.dataset", "one of motion_shapes, other"),
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


def of_own(weights: dict[str, Any], **changes: Any) -> ExperimentSpec:
    """An experiment whose flow ConvNet starts from a stage of the same experiment."""
    backbone = {"name": "tiny", "weights": weights, "finetune": {"epochs": 1}}
    rgb = BackboneSpec(name="tiny", finetune=FinetuneSpec(epochs=1))
    own = {"streams": ("rgb", "flow"), "backbone": rgb, "flow_stream": {"backbone": backbone}, "seeds": (0, 5)}
    return small_spec(**own | {"fusion": {"method": "probabilities"}} | changes)


def test_a_stage_of_the_same_experiment_is_planned_into_its_graph(database: Database) -> None:
    found = stages(database, submit(database, of_own({"stream": "rgb"})))
    for seed in (0, 5):
        row = found[f"finetune tiny flow, split 1, seed {seed}"]
        assert edges(database, row)["weights"] == found[f"finetune tiny rgb, split 1, seed {seed}"].key
    assert len([label for label in found if label.startswith("finetune")]) == 4
    fixed = stages(database, submit(database, of_own({"stream": "rgb", "part": "backbone", "seed": 5}, seeds=(5, 6))))
    ends = {edges(database, fixed[f"finetune tiny flow, split 1, seed {seed}"])["weights"] for seed in (5, 6)}
    assert ends == {fixed["finetune tiny rgb, split 1, seed 5"].key}


def test_a_network_starts_from_that_of_the_other_stream(database: Database) -> None:
    model = {"kind": "lstm", "hidden": 8, "fc_dim": 8}
    own = {"flow_stream": {"model": {**model, "weights": {"stream": "rgb"}}}, "model": model}
    spec = small_spec(streams=("rgb", "flow"), fusion={"method": "probabilities"}, **own)
    found = stages(database, submit(database, spec))
    flow, rgb = (found[f"train lstm {stream}, split 1, seed 0"] for stream in ("flow", "rgb"))
    assert edges(database, flow)["model/0/all"] == rgb.key


BACKBONE = {"name": "tiny", "finetune": {"epochs": 1}}
ITSELF = "backbone of rgb, split 1, seed 0 from backbone of rgb, split 1, seed 0"
ROUND = "backbone of flow, split 1, seed 0 from backbone of rgb, split 1, seed 0 from backbone of flow, split 1, seed 0"


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"backbone": {**BACKBONE, "weights": {"stream": "rgb"}}, "flow_stream": None}, "backbone.weights", ITSELF),
        (
            {
                "backbone": {**BACKBONE, "weights": {"stream": "flow"}},
                "flow_stream": {"backbone": {**BACKBONE, "weights": {"stream": "rgb"}}},
            },
            "backbone.weights",
            ROUND,
        ),
        ({"seeds": (0,), "flow_stream": {"backbone": {**BACKBONE, "weights": {"stream": "rgb", "seed": 3}}}},
         "flow_stream.backbone.weights.seed", "0"),
        ({"flow_stream": {"backbone": {**BACKBONE, "weights": {"stream": "rgb", "split": 2}}}},
         "flow_stream.backbone.weights.split", "1"),
        ({"backbone": {"name": "tiny", "finetune": None},
          "flow_stream": {"backbone": {**BACKBONE, "weights": {"stream": "rgb"}}}},
         "flow_stream.backbone.weights.part", "model, since this experiment has no backbone.finetune"),
        ({"streams": ("flow",), "flow_stream": {"backbone": {**BACKBONE, "weights": {"stream": "rgb"}}}},
         "flow_stream.backbone.weights.stream", "flow"),
    ],
)  # fmt: skip
def test_what_would_start_from_itself_or_from_nothing_is_refused_by_name(
    database: Database, changes: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        submit(database, of_own({"stream": "rgb"}, **changes))
    assert (caught.value.field, caught.value.allowed.removeprefix("weights that do not start from themselves: ")) == (
        field,
        allowed,
    )


@pytest.mark.parametrize("weights", [{}, {"split": 1}, {"seed": 0}, {"stream": "rgb", "dataset": "ucf101"}])
def test_weights_of_nobody_are_refused(weights: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"this very experiment|null without recipe"):
        BackboneSpec.model_validate({"name": "tiny", "weights": weights})
