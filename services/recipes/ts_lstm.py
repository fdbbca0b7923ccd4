"""TS-LSTM and the two-stream baseline of 001 (arXiv 1703.10667), with each number's section."""

from __future__ import annotations

from services.specs import (
    TSLSTM,
    AugmentationSpec,
    BackboneSpec,
    ConvNet,
    EvaluationSpec,
    ExperimentSpec,
    FinetuneSpec,
    FlowSpec,
    FusionSpec,
    OptimizerSpec,
    TrainingSpec,
)


def ucf101() -> ExperimentSpec:
    """TS-LSTM with three segments and one LSTM of 512 units (sec. 4.3, Table 3)."""
    return ExperimentSpec(
        name="TS-LSTM (001)",
        dataset="ucf101",
        model=TSLSTM(segments=3, hidden=(512,), initial_weights="code"),
        backbone=_backbone(),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=10),  # sec. 4.1
        training=TrainingSpec(  # sec. 4.2; the released code swaps this rate with Temporal-ConvNet's
            epochs=100, batch_size=64, optimizer=OptimizerSpec(name="adam", learning_rate=5e-5, clip_value=5)
        ),
        evaluation=EvaluationSpec(frames=25),  # sec. 4.2
        fusion=FusionSpec(method="features"),  # fig. 2: the streams' features are concatenated
    )


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51 with two LSTM layers, as for the reported 69.0 (sec. 4.4).

    The paper starts its ConvNets from those of UCF101; this starts them from ImageNet's weights.
    """
    changes = {
        "name": "TS-LSTM (001)",
        "dataset": "hmdb51",
        "model": TSLSTM(segments=3, hidden=(512, 512), initial_weights="code"),
    }
    return ucf101().model_copy(update=changes)


def two_stream() -> ExperimentSpec:
    """Frame-level two-stream ConvNets: probabilities averaged over 25 frames and both streams (Table 2).

    The ConvNets' linear layers are trained anew on the features.
    """
    changes = {
        "name": "two-stream ConvNets (001)",
        "model": ConvNet(),
        "fusion": FusionSpec(method="probabilities"),
    }
    return ucf101().model_copy(update=changes)


def _backbone() -> BackboneSpec:
    return BackboneSpec(
        name="resnet101",
        weights="imagenet",
        finetune=FinetuneSpec(
            epochs=30,  # the released code; the paper divides the rate at plateaus (sec. 4.2)
            batch_size=64,  # sec. 4.2
            optimizer=OptimizerSpec(name="sgd", learning_rate=5e-4, weight_decay=1e-4),  # code; sec. 4.2
            milestones=(10, 20),
            # sec. 4.1 and code
            augmentation=AugmentationSpec(min_area=0.08, flip=0.5, invert_flow_on_flip=False, jitter=0.4),
        ),
    )
