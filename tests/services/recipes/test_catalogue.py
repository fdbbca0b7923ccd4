from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.errors import InvalidRequest
from services.recipes import RECIPES, resolve
from services.recipes.deviations import DEVIATIONS
from services.specs import TSLSTM, ConvNet, ExperimentSpec, MeanPooling, PlateauSchedule, StepSchedule


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_spec_that_survives_its_own_json(name: str) -> None:
    spec = RECIPES[name].spec
    assert ExperimentSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert resolve({"recipe": name}) == (spec, name)


def test_the_paper_system_has_the_paper_numbers() -> None:
    spec = RECIPES["ts_lstm_ucf101"].spec
    assert isinstance(spec.model, TSLSTM)
    assert (spec.model.segments, spec.model.hidden) == (3, (512,))
    assert spec.training.optimizer.learning_rate == 5e-5
    assert (spec.flow.algorithm, spec.flow.bound, spec.flow.stack, spec.evaluation.frames) == ("tvl1", 20, 10, 25)


def test_the_two_stream_baseline_averages_the_probabilities_of_frames() -> None:
    spec = RECIPES["two_stream_ucf101"].spec
    assert [part.model for part in spec.networks] == [ConvNet(classifier="finetuned")] * 2
    assert (spec.evaluation.average, spec.fusion.method) == ("probabilities", "probabilities")


def test_every_paper_has_its_systems() -> None:
    kinds = {name: [part.model.kind for part in RECIPES[name].spec.networks] for name in RECIPES}
    assert kinds["video_lstm_ucf101"] == ["video_lstm", "conv_alstm"]
    assert kinds["relational_lstm_hmdb51"] == ["relational_lstm", "relational_lstm"]
    assert kinds["memory_ucf101"] == ["memory", "memory"]
    assert kinds["temporal_inception_ucf101"] == ["temporal_convnet"]
    dropouts = [part.model.dropout for part in RECIPES["relational_lstm_ucf101"].spec.networks]
    assert dropouts == [0.8, 0.7]


def test_changes_are_laid_over_a_recipe() -> None:
    body = {"recipe": "ts_lstm_ucf101", "splits": [2], "training": {"optimizer": {"learning_rate": 1e-4}}}
    spec, name = resolve(body)
    assert name == "ts_lstm_ucf101"
    assert spec.splits == (2,)
    assert spec.training.optimizer.learning_rate == 1e-4
    assert spec.training.optimizer.clip_value == 5


def test_another_kind_of_model_replaces_the_recipe_model() -> None:
    spec, _ = resolve({"recipe": "ts_lstm_ucf101", "model": {"kind": "mean_pooling"}})
    assert spec.model == MeanPooling()
    spec, _ = resolve({"recipe": "ts_lstm_ucf101", "model": {"segments": 5}})
    assert spec.model == TSLSTM(segments=5, initial_weights="code")


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("tsn_bn_inception")])
def test_under_another_name_falls_away_what_the_recipes_alone_reads(name: str) -> None:
    """No recipe refuses another optimizer or ConvNet for a field that nobody named."""
    spec = RECIPES[name].spec
    own = {"training": {"optimizer": {"name": "adam"}}, "backbone": {"name": "resnet18"}}
    streams = {field: value for field, value in own.items() if getattr(spec.flow_stream, field, None) is not None}
    given = {"recipe": name, **own, **({"flow_stream": streams} if streams else {})}
    for network in resolve(given)[0].networks:
        optimizer = network.training.optimizer
        assert (optimizer.name, optimizer.epsilon, optimizer.epsilon_inside_root) == ("adam", None, False)
        for backbone in network.backbones.values():
            assert backbone.name == "resnet18"
            assert backbone.finetune is None or backbone.finetune.fc6_dropout is None
    same = resolve({"recipe": name, "backbone": {"name": spec.backbone.name}})[0]
    assert same == spec


def test_what_is_named_beside_another_name_is_taken_or_refused() -> None:
    training = {"optimizer": {"name": "rmsprop", "epsilon": 1e-5}}
    assert resolve({"recipe": "ts_lstm_ucf101", "training": training})[0].training.optimizer.epsilon == 1e-5
    with pytest.raises(ValidationError, match="rmsprop alone reads it"):
        resolve({"recipe": "lstm_ucf101", "training": {"optimizer": {"name": "adam", "epsilon": 1e-5}}})
    with pytest.raises(ValidationError, match="resnet18 has no fc6"):
        resolve({"recipe": "lstm_ucf101", "backbone": {"name": "resnet18", "finetune": {"fc6_dropout": 0.5}}})


@pytest.mark.parametrize("name", ["none", 3, None, ["ts_lstm_ucf101"]])
def test_an_unknown_recipe_is_named_with_those_that_exist(name: object) -> None:
    with pytest.raises(InvalidRequest, match=r"recipe: (got .*|nothing), allowed: one of ts_lstm_ucf101, "):
        resolve({"recipe": name})


def test_without_a_recipe_the_body_is_the_spec() -> None:
    assert resolve({"dataset": "motion_shapes"}) == (ExperimentSpec(dataset="motion_shapes"), None)
    with pytest.raises(ValidationError):
        resolve({"recipe": "demo_ts_lstm", "nonsense": 1})


def test_a_recipe_without_its_flow_stream_has_no_network_for_it() -> None:
    spec, _ = resolve({"recipe": "relational_lstm_ucf101", "streams": ["rgb"]})
    assert [part.streams for part in spec.networks] == [("rgb",)]
    spec, _ = resolve({"recipe": "memory_ucf101", "flow_stream": None})
    assert {part.training.iterations for part in spec.networks} == {18_000}


def test_a_length_or_schedule_laid_over_a_recipe_replaces_the_recipes() -> None:
    training = resolve({"recipe": "memory_ucf101", "training": {"epochs": 3}})[0].training
    assert (training.epochs, training.iterations) == (3, None)
    assert training.schedule == StepSchedule(unit="iterations", milestones=(6_000, 12_000))
    training = resolve({"recipe": "memory_ucf101", "training": {"milestones": [1], "iterations": 7}})[0].training
    assert (training.milestones, training.schedule, training.iterations) == ((1,), None, 7)
    plateau = {"training": {"schedule": {"kind": "plateau", "patience": 2}}}
    for recipe in ("memory_ucf101", "relational_lstm_ucf101"):
        training = resolve({"recipe": recipe, **plateau})[0].training
        assert (training.milestones, training.schedule) == ((), PlateauSchedule(patience=2))


def test_deviations_are_of_recipes_that_exist_and_follow_their_specs() -> None:
    assert DEVIATIONS.keys() <= RECIPES.keys()
    of_papers = {name for name in RECIPES if not name.startswith(("demo", "convnet"))}
    assert of_papers - DEVIATIONS.keys() == set()
    for name, found in DEVIATIONS.items():
        spec = RECIPES[name].spec
        selections = {network.training.selection for network in spec.networks}
        assert ("selection" in found) == name.startswith(
            ("ts_lstm", "two_stream", "temporal_inception", "video_lstm", "conv_", "alstm", "lstm", "motion")
        ), name
        assert selections == {"last"}, name
        if "dropout" in found:
            assert getattr(spec.model, "dropout", None) == 0.5, name
        if "state" in found:
            assert getattr(spec.model, "initial_state", None) == "learned", name
