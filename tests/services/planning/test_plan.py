from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from services.board.protocol import Protocol, measurements
from services.params import BackboneParams, BoxFile, FrameSamples, FrameViews, Snippets, SnippetViews, SpacedFeatures
from services.planning.plan import Plan, plan
from services.planning.planned import PlannedStage
from services.specs import (
    TSN,
    BackboneSpec,
    ConvALSTM,
    ConvLSTM,
    ConvNet,
    EndToEndSpec,
    EvaluationSpec,
    ExperimentSpec,
    FlowSpec,
    FlowStreamSpec,
    FusionSpec,
    LocalizationSpec,
    MeanPooling,
    MotionALSTM,
    OptimizerSpec,
    PlateauSchedule,
    TrainingSpec,
    VideoLSTM,
)
from services.stages import (
    KINDS,
    ExtractParams,
    FinetuneParams,
    FuseParams,
    IndexParams,
    LocalizeParams,
    ScoreParams,
    TrainParams,
)

INDEX = IndexParams(dataset="ucf101", root="/data", annotations="/lists", revision=1)


TRAIN_KEY = "0705f9b9f564f8715921e0db68132d76f562947bdc4803c3a08244f892a30b1f"
SCORE_KEY = "dc859e4f9233c0ac14cd05db45882979c48d8c52c5683f9748a71fff67a2b656"


def spec(**changes: object) -> ExperimentSpec:
    return ExperimentSpec(**({"dataset": "ucf101", "backbone": {"name": "tiny"}} | changes))  # type: ignore[arg-type]


def kinds(stages: tuple[PlannedStage, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for stage in stages:
        counts[stage.spec.kind] = counts.get(stage.spec.kind, 0) + 1
    return counts


def test_actions_are_localised_by_networks_that_attend_where_that_is_asked() -> None:
    look: dict[str, Any] = {"crops": "stretch", "snippet": 30, "frames": 25}
    two = {"model": VideoLSTM(), "flow_stream": FlowStreamSpec(model=ConvLSTM()), "splits": (1, 2)}
    boxes = BoxFile(path="/boxes.pkl", digest="0" * 64)
    before = plan(spec(**two, evaluation=EvaluationSpec(**look)), INDEX, boxes)
    asked = EvaluationSpec(**look, localization=LocalizationSpec(threshold=120, smoothing=9))
    stages = plan(spec(**two, evaluation=asked), INDEX, boxes)
    assert {stage.key for stage in stages} > {stage.key for stage in before}
    found = [stage for stage in stages if stage.spec.kind == "localize"]
    assert [stage.label for stage in found] == [
        f"localize video_lstm rgb+flow, split {split}, seed 0" for split in (1, 2)
    ]
    assert len(stages) == len(before) + 2
    params = found[0].spec.params
    assert isinstance(params, LocalizeParams)
    assert (params.threshold, params.smoothing, params.boxes, params.generator) == (120, 9, boxes, None)
    assert (params.sampled.frames, params.sampled.crop, params.sampled.backbone) == (None, "stretch", "tiny")
    by_key = {stage.key: stage.spec.kind for stage in stages}
    assert [(edge.name, by_key[edge.key]) for edge in found[0].spec.inputs] == [
        ("index", "index"),
        ("rgb", "extract"),
        ("flow", "extract"),
        ("train", "train"),
        ("score", "score"),
    ]


def keys(stages: tuple[PlannedStage, ...], *wanted: str) -> set[str]:
    return {stage.key for stage in stages if stage.spec.kind in wanted}


def inputs(stages: tuple[PlannedStage, ...]) -> dict[str, Any]:
    params = {stage.label: stage.spec.params for stage in stages}
    return {label: found.input for label, found in params.items() if isinstance(found, TrainParams | ScoreParams)}


def test_the_graph_of_a_two_stream_system_with_late_fusion() -> None:
    stages = plan(spec(), INDEX)
    assert kinds(stages) == {"index": 1, "flow": 2, "finetune": 6, "extract": 6, "train": 6, "score": 6, "fuse": 3}
    assert set(inputs(stages).values()) == {SpacedFeatures()}


def test_features_of_both_streams_go_into_one_network() -> None:
    stages = plan(spec(fusion=FusionSpec(method="features")), INDEX)
    assert kinds(stages) == {"index": 1, "flow": 2, "finetune": 6, "extract": 6, "train": 3, "score": 3, "fuse": 3}
    train = next(stage for stage in stages if stage.spec.kind == "train")
    assert [edge.name for edge in train.spec.inputs] == ["index", "rgb", "flow"]


def test_a_network_that_sees_both_streams_is_one() -> None:
    stages = plan(spec(model=VideoLSTM()), INDEX)
    assert kinds(stages) == {"index": 1, "flow": 2, "finetune": 6, "extract": 6, "train": 3, "score": 3, "fuse": 3}
    assert {stage.spec.params.feature for stage in stages if isinstance(stage.spec.params, ExtractParams)} == {"conv4"}
    assert {stage.spec.params.method for stage in stages if isinstance(stage.spec.params, FuseParams)} == {"features"}


def test_a_network_of_rgb_that_flow_steers_is_filed_as_rgb_with_and_without_one_beside_it() -> None:
    alone = spec(splits=(1,), model=VideoLSTM())
    beside = spec(splits=(1,), model=VideoLSTM(), flow_stream=FlowStreamSpec(model=ConvALSTM()))
    both = spec(splits=(1,), fusion=FusionSpec(method="features"))
    expected = (("rgb",), ("rgb", "flow", "two-stream"), ("rgb", "flow", "two-stream"))
    for given, streams in zip((alone, beside, both), expected, strict=True):
        assert tuple(found.stream for found in measurements(given)) == streams
        fuse = plan(given, INDEX)[-1].spec.params
        assert isinstance(fuse, FuseParams)
        assert set(fuse.weights) == set(streams) - {"two-stream"}
    first = measurements(alone)[0]
    assert first == measurements(beside)[0]
    assert first.protocol.line.endswith("flow tvl1 +-20, stack 10")
    systems = {
        name: [Plan(given, INDEX).add_system(name, 1, 0) is not None for given in (alone, beside, both)]
        for name in ("rgb", "flow", "two-stream")
    }
    assert systems == {"rgb": [True, True, False], "flow": [False, True, False], "two-stream": [False, True, True]}


def test_the_flow_stream_may_have_a_network_of_its_own() -> None:
    own = FlowStreamSpec(model=ConvALSTM(), training=TrainingSpec(epochs=7), backbone=BackboneSpec(name="vgg16"))
    apart = plan(spec(splits=(1,), model=ConvLSTM(), flow_stream=own), INDEX)
    params = {stage.label: stage.spec.params for stage in apart}
    rgb, flow = (params[f"train {kind}, split 1, seed 0"] for kind in ("conv_lstm rgb", "conv_alstm flow"))
    assert isinstance(rgb, TrainParams)
    assert isinstance(flow, TrainParams)
    assert (rgb.training.epochs, flow.training.epochs) == (100, 7)
    assert {label.split()[1] for label in params if label.startswith("finetune")} == {"tiny", "vgg16"}
    steered = plan(spec(splits=(1,), model=VideoLSTM(), flow_stream=FlowStreamSpec(model=ConvALSTM())), INDEX)
    fuse = steered[-1].spec
    assert [edge.name for edge in fuse.inputs] == ["rgb+flow", "flow"]
    assert isinstance(fuse.params, FuseParams)
    assert fuse.params.method == "probabilities"


def test_each_stream_gives_the_form_of_features_that_the_network_takes() -> None:
    stages = plan(spec(model=MotionALSTM(), splits=(1,)), INDEX)
    params = [stage.spec.params for stage in stages if isinstance(stage.spec.params, ExtractParams)]
    assert {entry.stream: entry.feature for entry in params} == {"rgb": "conv4", "flow": "pool"}


def test_a_fine_tuned_convnet_is_scored_as_it_is() -> None:
    look = EvaluationSpec(frames=25, crops="ten")
    finetuned = spec(model=ConvNet(classifier="finetuned"), evaluation=look, splits=(1,))
    stages = plan(finetuned, INDEX)
    assert kinds(stages) == {"index": 1, "flow": 2, "finetune": 2, "score": 2, "fuse": 1}
    edges = {stage.label: [edge.name for edge in stage.spec.inputs] for stage in stages}
    assert edges["score convnet flow fine-tuned, split 1, seed 0"] == ["index", "flow/0", "flow/1", "finetune"]
    seen = {"stream": "rgb", "backbone": BackboneParams(name="tiny"), "feature": "pool", "flow_stack": 10}
    views = FrameViews(**seen, frames=25, crops="ten")
    assert inputs(stages)["score convnet rgb fine-tuned, split 1, seed 0"] == views
    assert keys(stages, "finetune") == keys(plan(spec(splits=(1,)), INDEX), "finetune")
    line = "25 frames, 10 crops, probabilities, last epoch, fine-tuned classifier; frames of stack 10"
    assert Protocol.of(finetuned, "rgb").line == line


def test_a_retrained_classifier_keeps_the_keys_that_it_had() -> None:
    """As versions before made them, which knew no other classifier."""
    stages = plan(spec(model=ConvNet(), splits=(1,), streams=("rgb",)), INDEX)
    assert [stage.key for stage in stages if stage.spec.kind in {"train", "score"}] == [TRAIN_KEY, SCORE_KEY]
    assert Protocol.of(spec(model=ConvNet()), "rgb") == Protocol.of(spec(), "rgb")


def test_end_to_end_training_extracts_nothing() -> None:
    backbone = BackboneSpec(name="tiny", end_to_end=EndToEndSpec(snippets=5))
    look = EvaluationSpec(frames=25, crops="ten", positions=2)
    stages = plan(spec(model=TSN(), backbone=backbone, evaluation=look), INDEX)
    assert kinds(stages) == {"index": 1, "flow": 2, "finetune": 6, "train": 6, "score": 6, "fuse": 3}
    edges = {stage.label: [edge.name for edge in stage.spec.inputs] for stage in stages}
    assert edges["train tsn rgb end to end, split 1, seed 0"] == ["index", "finetune"]
    assert edges["score tsn flow end to end, split 1, seed 0"] == ["index", "flow/0", "flow/1", "train"]
    seen = {"stream": "rgb", "backbone": BackboneParams(name="tiny"), "feature": "pool", "flow_stack": 10}
    assert inputs(stages)["train tsn rgb end to end, split 1, seed 0"] == FrameSamples(
        **seen, snippets=5, augmentation=True
    )
    assert inputs(stages)["score tsn rgb end to end, split 1, seed 0"] == FrameViews(
        **seen, frames=25, positions=2, crops="ten"
    )


def test_a_network_that_is_trained_along_starts_from_the_first_weights_and_is_scored_with_its_own(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    backbone = BackboneSpec(name="tiny", finetune=None, weights=str(weights), end_to_end=EndToEndSpec())
    stages = plan(spec(model=TSN(), backbone=backbone, streams=("rgb",), splits=(1,)), INDEX)
    train, score = (inputs(stages)[f"{kind} tsn rgb end to end, split 1, seed 0"] for kind in ("train", "score"))
    assert train.backbone.weights == str(weights)
    assert train.backbone.digest == hashlib.sha256(b"one").hexdigest()
    assert score.backbone == BackboneParams(name="tiny")


@pytest.mark.parametrize("end_to_end", [None, EndToEndSpec(snippets=5)])
def test_every_stage_with_a_backbone_knows_how_its_input_is_normalised(end_to_end: EndToEndSpec | None) -> None:
    backbone = BackboneSpec(name="tiny", end_to_end=end_to_end, normalization="tsn")
    model = MeanPooling() if end_to_end is None else TSN()
    params = [stage.spec.params.model_dump() for stage in plan(spec(model=model, backbone=backbone), INDEX)]
    found = [one.get("input", one).get("backbone") for one in params]
    assert {one["normalization"] for one in found if one} == {"tsn"}
    assert len([one for one in found if one]) == (12 if end_to_end is None else 18)


def test_a_flow_network_may_wait_for_the_rgb_one() -> None:
    backbone = BackboneSpec(name="tiny", finetune=None, end_to_end=EndToEndSpec())
    own = FlowStreamSpec(from_rgb=True)
    stages = plan(spec(model=TSN(), backbone=backbone, flow_stream=own, splits=(1,), streams=("flow", "rgb")), INDEX)
    edges = {stage.label: {edge.name: edge.key for edge in stage.spec.inputs} for stage in stages}
    rgb = next(stage.key for stage in stages if stage.label == "train tsn rgb end to end, split 1, seed 0")
    assert edges["train tsn flow end to end, split 1, seed 0"]["train"] == rgb
    assert kinds(stages)["train"] == 2
    tuned = plan(
        spec(model=TSN(), backbone=BackboneSpec(name="tiny", end_to_end=EndToEndSpec()), flow_stream=own), INDEX
    )
    assert {stage.label.split()[2] for stage in tuned if stage.spec.kind == "finetune"} == {"rgb,"}


def test_snippets_are_cut_from_features_of_every_frame() -> None:
    stages = plan(spec(evaluation=EvaluationSpec(frames=25, snippet=30), streams=("rgb",), splits=(1,)), INDEX)
    params = {stage.spec.kind: stage.spec.params for stage in stages}
    assert isinstance(params["extract"], ExtractParams)
    assert params["extract"].frames is None
    assert isinstance(params["train"], TrainParams)
    assert params["train"].input == Snippets(length=30)
    assert isinstance(params["score"], ScoreParams)
    assert params["score"].input == SnippetViews(length=30, count=25)


def test_frozen_features_are_shared_by_all_splits() -> None:
    counts = kinds(plan(spec(backbone=BackboneSpec(name="tiny", finetune=None)), INDEX))
    assert (counts["extract"], "finetune" in counts) == (2, False)


def test_inputs_come_before_what_needs_them_and_keys_are_unique() -> None:
    stages = plan(spec(seeds=(0, 1)), INDEX)
    seen: set[str] = set()
    for stage in stages:
        assert {edge.key for edge in stage.spec.inputs} <= seen
        assert stage.key not in seen
        seen.add(stage.key)
    assert len({stage.label for stage in stages}) == len(stages)


@pytest.mark.parametrize(
    ("changes", "shared", "other"),
    [
        ({"model": MeanPooling()}, ("index", "flow", "finetune", "extract"), ("train", "score", "fuse")),
        ({"training": TrainingSpec(epochs=3)}, ("index", "flow", "finetune", "extract"), ("train",)),
        ({"training": TrainingSpec(iterations=10)}, ("finetune", "extract"), ("train",)),
        ({"training": TrainingSpec(schedule=PlateauSchedule())}, ("finetune", "extract"), ("train",)),
        ({"training": TrainingSpec(optimizer=OptimizerSpec(decay=0.9, epsilon=None))}, ("finetune", "train"), ()),
        ({"evaluation": EvaluationSpec(average="logits")}, ("extract", "train"), ("score", "fuse")),
        ({"evaluation": EvaluationSpec(pictures=9)}, ("extract", "train"), ("score", "fuse")),
        ({"training": TrainingSpec(validate=True)}, ("finetune", "extract"), ("train",)),
        ({"flow": FlowSpec(bound=15)}, ("index",), ("flow",)),
        (
            {"training": TrainingSpec(checkpoint_epochs=7)},
            ("index", "flow", "finetune", "extract", "train", "fuse"),
            (),
        ),
        ({"name": "another", "priority": 3}, ("index", "flow", "finetune", "extract", "train", "score", "fuse"), ()),
    ],
)
def test_what_a_change_shares_and_what_it_makes_anew(
    changes: dict[str, object], shared: tuple[str, ...], other: tuple[str, ...]
) -> None:
    before, after = plan(spec(), INDEX), plan(spec(**changes), INDEX)
    assert keys(before, *shared) == keys(after, *shared)
    assert all(keys(before, kind).isdisjoint(keys(after, kind)) for kind in other)


def test_to_validate_beside_a_selection_that_does_so_anyway_is_the_same_work() -> None:
    own = {"selection": "validation"}
    trainings = (TrainingSpec(**own), TrainingSpec(**own, validate=True), TrainingSpec(validate=True))
    first, same, other = (keys(plan(spec(training=training), INDEX), "train") for training in trainings)
    assert first == same
    assert first.isdisjoint(other)


def test_a_convnet_is_kept_from_the_clips_that_choose_the_epoch_of_its_network() -> None:
    """Or they would be no test of it; one that is told what to hold out does that, and shares the work."""
    chosen = {"selection": "validation", "validation_share": 0.2}
    plain, kept = plan(spec(), INDEX), plan(spec(training=TrainingSpec(**chosen)), INDEX)
    told = {"name": "tiny", "finetune": {"validate": True, "validation_share": 0.2}}
    same = plan(spec(backbone=told, training=TrainingSpec(**chosen)), INDEX)
    trainings = [stage.spec.params.training for stage in kept if isinstance(stage.spec.params, FinetuneParams)]
    assert {(own.selection, own.held_out, own.validation_share) for own in trainings} == {("last", "validation", 0.2)}
    assert keys(kept, "finetune") == keys(same, "finetune")
    assert keys(kept, "finetune", "extract").isdisjoint(keys(plain, "finetune", "extract"))
    frames = {"model": ConvNet(classifier="finetuned"), "fusion": FusionSpec(method="probabilities")}
    alone = plan(spec(**frames), INDEX)
    assert keys(plan(spec(**frames, training=TrainingSpec(**chosen)), INDEX), "finetune") == keys(alone, "finetune")


def test_films_are_held_out_of_hmdb51_and_no_other_key_knows_it() -> None:
    films = INDEX.model_copy(update={"layout": "hmdb51"})
    for training, by in ((TrainingSpec(), "group"), (TrainingSpec(validate=True), "film")):
        made = plan(spec(training=training), films)
        [found] = {stage.spec.params.held_out_by for stage in made if isinstance(stage.spec.params, TrainParams)}
        assert found == by
        assert all("held_out_by" not in stage.spec.params.key_content() for stage in plan(spec(), films))


def test_fine_tuning_draws_from_the_seconds_that_are_looked_at() -> None:
    """TS-LSTM, sec. 4.4; without a limit the key is what it was before there was one."""
    tuned = plan(spec(evaluation=EvaluationSpec(first_seconds=10)), INDEX)
    params = [stage.spec.params for stage in tuned if stage.spec.kind == "finetune"]
    assert {own.first_seconds for own in params if isinstance(own, FinetuneParams)} == {10}
    assert keys(tuned, "finetune").isdisjoint(keys(plan(spec(), INDEX), "finetune"))


def test_frames_a_whole_step_apart_are_other_features_and_another_test() -> None:
    """TS-LSTM's code; by the usual rule every key is what it was before there was a choice."""
    steps = EvaluationSpec(spacing="whole_step")
    frames = {"model": ConvNet(classifier="finetuned"), "fusion": FusionSpec(method="probabilities")}
    for changes, kinds in (({}, ("extract", "score")), (frames, ("score",))):
        usual, other = (plan(spec(**changes, evaluation=look), INDEX) for look in (EvaluationSpec(), steps))
        for kind in kinds:
            assert keys(usual, kind).isdisjoint(keys(other, kind))
        assert keys(usual, "index", "flow", "finetune") == keys(other, "index", "flow", "finetune")
        assert '"spacing"' not in json.dumps([stage.spec.params.key_content() for stage in usual])
        assert '"spacing": "whole_step"' in json.dumps([stage.spec.params.key_content() for stage in other])
        for stage in other:
            assert KINDS[stage.spec.kind].params.model_validate(stage.spec.params.model_dump()) == stage.spec.params


def test_another_test_of_the_same_training_shares_it() -> None:
    end_to_end = {"model": TSN(), "backbone": BackboneSpec(name="tiny", end_to_end=EndToEndSpec())}
    for changes, looks in (
        (end_to_end, (EvaluationSpec(frames=25, crops="ten"), EvaluationSpec(frames=8, positions=4))),
        ({}, (EvaluationSpec(snippet=30, frames=25), EvaluationSpec(snippet=30, frames=5))),
    ):
        one, other = (plan(spec(**changes, evaluation=look), INDEX) for look in looks)
        assert keys(one, "extract", "train") == keys(other, "extract", "train")
        assert keys(one, "score").isdisjoint(keys(other, "score"))


def test_a_flow_change_leaves_rgb_alone() -> None:
    before, after = plan(spec(streams=("rgb",)), INDEX), plan(spec(streams=("rgb",), flow=FlowSpec(bound=1)), INDEX)
    assert [stage.key for stage in before] == [stage.key for stage in after]


def test_another_revision_of_a_dataset_is_other_work() -> None:
    again = IndexParams(**(INDEX.model_dump() | {"revision": 2}))
    assert keys(plan(spec(), INDEX), "index").isdisjoint(keys(plan(spec(), again), "index"))


def test_another_weights_file_under_the_same_name_is_other_work(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    wanted = spec(backbone=BackboneSpec(name="tiny", weights=str(weights)))
    weights.write_bytes(b"one")
    before = plan(wanted, INDEX)
    weights.write_bytes(b"two")
    assert keys(before, "finetune").isdisjoint(keys(plan(wanted, INDEX), "finetune"))


def test_the_protocol_says_how_a_number_was_measured() -> None:
    assert Protocol.of(spec(), "rgb").line == "25 frames, centre crop, probabilities, last epoch; frames of stack 10"
    assert Protocol.of(spec(flow=FlowSpec(stack=1)), "rgb").line.endswith(
        "; frames of stack 1"
    )  # nearer to a clip's ends
    look = EvaluationSpec(frames=25, snippet=30, crops="stretch", first_seconds=10)
    expected = "25 snippets of 30 frames of the first 10 s, stretched frame, probabilities, last epoch"
    assert Protocol.of(spec(evaluation=look), "rgb").line == expected
    backbone = BackboneSpec(name="tiny", end_to_end=EndToEndSpec())
    look = EvaluationSpec(frames=8, positions=4, crops="five", average="logits")
    expected = "8 frames at 4 positions, 5 crops, logits, last epoch; frames of stack 10"
    assert Protocol.of(spec(model=TSN(), backbone=backbone, evaluation=look), "rgb").line == expected
    assert Protocol.of(spec(), "two-stream").line.endswith("; flow tvl1 +-20, stack 10")
