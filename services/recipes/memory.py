"""Memory-augmented temporal dynamic learning, 000 (arXiv 1904.13080), and TSN, whose training it takes over.

000 counts iterations: at batches of 64, one epoch of UCF101's first split is 149 of them.
"""

from __future__ import annotations

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
    TrainingSpec,
)


def ucf101() -> ExperimentSpec:
    """ResNet-101 and the memory as one (sec. 4.2); snippets, sizes and dropout, left open there, are ours."""
    return ExperimentSpec(
        name="memory (000)",
        dataset="ucf101",
        model=Memory(threshold=0.5, dropout=0.8),
        backbone=_backbone("resnet101", snippets=8),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=5),  # TSN's stack (systems.md 6.4, point 5)
        training=_training(1e-3, epochs=121, milestones=(40, 80)),  # 18,000 iterations, / 10 every 6,000
        flow_stream=FlowStreamSpec(
            model=Memory(threshold=0.5, dropout=0.7),
            training=_training(5e-3, epochs=537, milestones=(322, 483)),  # 80,000, / 10 at 48,000 and 72,000
        ),
        evaluation=EvaluationSpec(frames=25, crops="ten"),  # sec. 4.2: "the original two-stream" scheme
        fusion=FusionSpec(method="probabilities"),  # sec. 4.2: the average of the streams
    )


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51, for whose iterations the paper has no number."""
    return ucf101().model_copy(update={"dataset": "hmdb51"})


def tsn() -> ExperimentSpec:
    """TSN with three segments by its released code's numbers, on ResNet-101, one rate and decay for all weights.

    Its own backbone is `bn_inception`, whose weights no kept package offers: name a file of them to use it. Epochs are
    iterations at batches of 128: 1,500 of 3,500 for rgb, 10,000 and 16,000 of 18,000 for flow.
    """
    return ExperimentSpec(
        name="TSN",
        dataset="ucf101",
        model=TSN(segments=3, dropout=0.8, partial_batch_norm=True),
        backbone=_backbone("resnet101", snippets=3),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=5),
        training=TrainingSpec(epochs=47, batch_size=128, milestones=(20,), optimizer=_sgd(1e-3, clip_norm=20)),
        flow_stream=FlowStreamSpec(
            model=TSN(segments=3, dropout=0.7, partial_batch_norm=True),
            training=TrainingSpec(
                epochs=241, batch_size=128, milestones=(134, 215), optimizer=_sgd(1e-3, clip_norm=20)
            ),
        ),
        evaluation=EvaluationSpec(frames=25, crops="ten", average="logits"),
        fusion=FusionSpec(method="logits", rgb=1, flow=1.5),
    )


def _backbone(name: str, snippets: int) -> BackboneSpec:
    return BackboneSpec(name=name, weights="imagenet", finetune=None, end_to_end=EndToEndSpec(snippets=snippets))


def _training(rate: float, epochs: int, milestones: tuple[int, ...]) -> TrainingSpec:
    return TrainingSpec(epochs=epochs, batch_size=64, milestones=milestones, optimizer=_sgd(rate, clip_norm=20))


def _sgd(rate: float, clip_norm: float) -> OptimizerSpec:
    """Weight decay is TSN's (000 states none)."""
    return OptimizerSpec(name="sgd", learning_rate=rate, weight_decay=5e-4, clip_norm=clip_norm)
