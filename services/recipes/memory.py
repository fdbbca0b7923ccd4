"""MATDL, memory-augmented temporal dynamic learning (arXiv 1904.13080), and TSN, whose training it takes over.

MATDL has no numbered sections; its numbers stand under "Implementation Details". It counts iterations, and so do TSN's
released solvers.
"""

from __future__ import annotations

from typing import Literal

from services.specs import (
    TSN,
    BackboneSpec,
    EndToEndSpec,
    EvaluationSpec,
    ExperimentSpec,
    FlowSpec,
    FlowStreamSpec,
    FusionSpec,
    Memory,
    OptimizerSpec,
    StepSchedule,
    TrainingSpec,
)


def ucf101() -> ExperimentSpec:
    """ResNet-101 and the memory as one; snippets, sizes and dropout, left open by the paper, are ours."""
    return _memory("ucf101")


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51, with as many iterations: the paper gives one number of them."""
    return _memory("hmdb51")


def vgg16(dataset: str, stack: int) -> ExperimentSpec:
    """The same on VGG-16's fc7: on single flow fields as VideoLSTM's ConvNet, or on TSN's stacks of 5.

    "Ours(VGG)" and "Ours(VGG+TSN)" of Tables 2 and 3; how flow is stacked the paper does not say.
    """
    spec = _memory(dataset)
    changes = {
        "name": "MATDL on VGG-16" if stack == 1 else "MATDL on VGG-16, with TSN",
        "backbone": _backbone("vgg16", snippets=8),
        "flow": FlowSpec(algorithm="tvl1", bound=20, stack=stack),
    }
    return spec.model_copy(update=changes)


def _memory(dataset: str) -> ExperimentSpec:
    return ExperimentSpec(
        name="MATDL",
        dataset=dataset,
        model=Memory(threshold=0.5, dropout=0.8),  # threshold: "Discrete Memory Controller"; dropout: TSN's
        backbone=_backbone("resnet101", snippets=8),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=5),  # TSN's; MATDL does not say
        training=_training(1e-3, iterations=18_000, milestones=(6_000, 12_000), batch_size=64, clip_norm=20),
        flow_stream=FlowStreamSpec(
            model=Memory(threshold=0.5, dropout=0.7),
            training=_training(5e-3, iterations=80_000, milestones=(48_000, 72_000), batch_size=64, clip_norm=20),
        ),
        # "Comparison with the state-of-the-art": the scheme of two-stream ConvNets, and the average of the streams
        evaluation=EvaluationSpec(frames=25, crops="ten"),
        fusion=FusionSpec(method="probabilities"),
    )


def tsn() -> ExperimentSpec:
    """TSN with three segments by the numbers of its released solvers and code, on ResNet-101.

    A deviation: the backbone. Its own is `bn_inception`, whose weights no kept package offers: name a file of them to
    use it.
    """
    return ExperimentSpec(
        name="TSN",
        dataset="ucf101",
        model=TSN(segments=3, dropout=0.8, partial_batch_norm=True),
        backbone=_backbone("resnet101", snippets=3),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=5),
        training=_training(
            1e-3, iterations=3_500, milestones=(1_500, 3_000), batch_size=128, clip_norm=40, layer_policy="tsn"
        ),
        flow_stream=FlowStreamSpec(
            model=TSN(segments=3, dropout=0.7, partial_batch_norm=True),
            training=_training(
                5e-3, iterations=18_000, milestones=(10_000, 16_000), batch_size=128, clip_norm=20, layer_policy="tsn"
            ),
        ),
        evaluation=EvaluationSpec(frames=25, crops="ten", average="logits"),
        fusion=FusionSpec(method="logits", rgb=1, flow=1.5),
    )


def tsn_hmdb51() -> ExperimentSpec:
    """The same on HMDB51, with as many iterations, which is ours."""
    return tsn().model_copy(update={"dataset": "hmdb51"})


def tsn_bn_inception(dataset: str) -> ExperimentSpec:
    """TSN on its own BN-Inception, from no weights: none are kept, so name a file in `backbone.weights`."""
    backbone = BackboneSpec(name="bn_inception", finetune=None, end_to_end=EndToEndSpec(snippets=3))
    changes = {"name": "TSN on BN-Inception", "dataset": dataset, "backbone": backbone}
    return tsn().model_copy(update=changes)


def _backbone(name: str, snippets: int) -> BackboneSpec:
    return BackboneSpec(name=name, weights="imagenet", finetune=None, end_to_end=EndToEndSpec(snippets=snippets))


def _training(
    rate: float,
    *,
    iterations: int,
    milestones: tuple[int, ...],
    batch_size: int,
    clip_norm: float,
    layer_policy: Literal["none", "tsn"] = "none",
) -> TrainingSpec:
    """Weight decay is TSN's (MATDL states none)."""
    return TrainingSpec(
        iterations=iterations,
        batch_size=batch_size,
        schedule=StepSchedule(unit="iterations", milestones=milestones, factor=0.1),
        layer_policy=layer_policy,
        optimizer=OptimizerSpec(name="sgd", learning_rate=rate, weight_decay=5e-4, clip_norm=clip_norm),
    )
