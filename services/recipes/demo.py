"""Two small experiments on `motion_shapes` that share their features: one head sees order, the other cannot."""

from __future__ import annotations

from services.specs import (
    TSLSTM,
    BackboneSpec,
    EvaluationSpec,
    ExperimentSpec,
    FinetuneSpec,
    FlowSpec,
    FusionSpec,
    MeanPooling,
    OptimizerSpec,
    TrainingSpec,
)


def ts_lstm() -> ExperimentSpec:
    """TS-LSTM with five segments, so that each half of a clip falls into segments of its own."""
    return ExperimentSpec(
        name="TS-LSTM",
        dataset="motion_shapes",
        model=TSLSTM(segments=5, hidden=(64,)),
        backbone=BackboneSpec(
            name="tiny",
            finetune=FinetuneSpec(
                epochs=4,
                batch_size=64,
                samples_per_clip=4,
                optimizer=OptimizerSpec(name="adam", learning_rate=3e-3),
                augmentation=None,
            ),
        ),
        flow=FlowSpec(algorithm="farneback", stack=2),
        training=TrainingSpec(
            epochs=40, batch_size=32, optimizer=OptimizerSpec(name="adam", learning_rate=3e-3), checkpoint_epochs=10
        ),
        evaluation=EvaluationSpec(frames=25),
        fusion=FusionSpec(method="features"),
    )


def mean_pooling() -> ExperimentSpec:
    """The mean over time of the same features, which is blind to order."""
    return ts_lstm().model_copy(update={"name": "mean pooling", "model": MeanPooling()})
