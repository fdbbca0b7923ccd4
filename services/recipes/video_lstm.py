"""The networks of VideoLSTM (arXiv 1607.01794), with each number's section; "code" is its released code."""

from __future__ import annotations

from typing import Any

from services.specs import (
    ALSTM,
    LSTM,
    BackboneSpec,
    ConvALSTM,
    ConvLSTM,
    ConvNet,
    EvaluationSpec,
    ExperimentSpec,
    FinetuneSpec,
    FlowSpec,
    FlowStreamSpec,
    FusionSpec,
    MotionALSTM,
    NetworkWeights,
    OptimizerSpec,
    StageWeights,
    TrainingSpec,
    VideoLSTM,
)


def video_lstm() -> ExperimentSpec:
    """VideoLSTM on rgb, whose attention flow steers, fused by product with ConvALSTM on flow (sec. 5.3, Table 3).

    Which networks the paper fuses is read from its released scripts. Flow is one field, not a stack (sec. 5.2). A
    deviation: the code assembles the motion network from trained parts and goes on training, as `assembled` does; this
    trains it at once.
    """
    return ExperimentSpec(
        name="VideoLSTM",
        dataset="ucf101",
        splits=(1,),  # sec. 5.1
        model=VideoLSTM(),
        backbone=_backbone(fc6_dropout=0.95, dropout=0.9),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=1),  # sec. 5.2; bound: code
        training=_training(epochs=400),  # code, for networks with motion-based attention
        flow_stream=FlowStreamSpec(
            model=ConvALSTM(), backbone=_backbone(fc6_dropout=0.9, dropout=0.8), training=_training(epochs=300)
        ),
        evaluation=EvaluationSpec(frames=25, snippet=30, crops="stretch"),  # sec. 5.2; without aspect: code
        fusion=FusionSpec(method="product"),  # sec. 5.3
    )


def conv_alstm() -> ExperimentSpec:
    """ConvLSTM with attention on each stream (Table 1)."""
    return _late("ConvALSTM (VideoLSTM)", ConvALSTM(), epochs=300)


def conv_lstm() -> ExperimentSpec:
    """ConvLSTM on each stream (Table 1)."""
    return _late("ConvLSTM (VideoLSTM)", ConvLSTM(), epochs=200, flow_epochs=300)


def alstm() -> ExperimentSpec:
    """LSTM with soft attention over positions on each stream (Table 1); dropout 0.5 is the code's, 0.7 in sec. 5.2."""
    return _late("ALSTM (VideoLSTM)", ALSTM(), epochs=200)


def lstm() -> ExperimentSpec:
    """LSTM on fc7 of each stream, classified at every step (Table 1)."""
    # sec. 5.2, but for the dropout, which is the code's: 0.7 in sec. 5.2
    model = LSTM(hidden=(512,), batch_norm=False, predict="steps", fc_dim=1024, dropout=0.5)
    return _late("LSTM (VideoLSTM)", model, epochs=200)


def convnet() -> ExperimentSpec:
    """VGG-16 by its own classifier, on frames and on single flow fields (sec. 5.2; ConvNet of Table 1)."""
    spec = _late("ConvNet (VideoLSTM)", ConvNet(classifier="finetuned"), epochs=1)
    changes = {
        "training": TrainingSpec(),  # of no account
        "evaluation": EvaluationSpec(frames=25, crops="stretch"),  # ours, as for the other networks
        "fusion": FusionSpec(method="probabilities"),  # ours
    }
    return spec.model_copy(update=changes)


def motion_alstm() -> ExperimentSpec:
    """ALSTM on rgb whose attention an LSTM on flow vectors steers (sec. 3.2), without a second network of flow."""
    changes = {
        "name": "ALSTM with motion (VideoLSTM)",
        "model": MotionALSTM(),
        "flow_stream": FlowStreamSpec(backbone=_backbone(fc6_dropout=0.9, dropout=0.8)),
    }
    return video_lstm().model_copy(update=changes)


def assembled() -> ExperimentSpec:
    """VideoLSTM put together from trained parts, and trained on, as the code does it.

    Weights of a motion network that was trained at once come first; over them the bottom layer of ConvLSTM on flow, and
    all else of ConvALSTM on rgb.
    """
    parts = (
        NetworkWeights(recipe="video_lstm_ucf101"),
        NetworkWeights(recipe="conv_lstm_ucf101", stream="flow", into="motion"),
        NetworkWeights(recipe="conv_alstm_ucf101", stream="rgb", into="appearance"),
    )
    return video_lstm().model_copy(update={"name": "VideoLSTM, assembled", "model": VideoLSTM(weights=parts)})


def on_hmdb51(spec: ExperimentSpec, recipe: str) -> ExperimentSpec:
    """Return UCF101's spec for HMDB51, whose LSTM starts from UCF101's (sec. 5.2); where the ConvNets start is ours."""
    model = spec.model
    if not model.is_finetuned:
        model = model.model_copy(update={"weights": NetworkWeights(recipe=recipe, split=1)})
    own = spec.flow_stream
    assert own is not None
    assert own.backbone is not None
    start = {"weights": StageWeights(recipe=recipe, split=1)}
    flow: dict[str, Any] = {"backbone": own.backbone.model_copy(update=start)}
    if own.model is not None:
        flow["model"] = own.model.model_copy(update={"weights": NetworkWeights(recipe=recipe, split=1)})
    changes = {
        "dataset": "hmdb51",
        "model": model,
        "backbone": spec.backbone.model_copy(update=start),
        "flow_stream": own.model_copy(update=flow),
    }
    return spec.model_copy(update=changes)


def _late(
    name: str, model: ALSTM | ConvNet | LSTM | ConvLSTM | ConvALSTM, epochs: int, flow_epochs: int | None = None
) -> ExperimentSpec:
    changes = {
        "name": name,
        "model": model,
        "training": _training(epochs),
        "flow_stream": FlowStreamSpec(
            backbone=_backbone(fc6_dropout=0.9, dropout=0.8),
            training=None if flow_epochs is None else _training(flow_epochs),
        ),
    }
    return video_lstm().model_copy(update=changes)


def _backbone(fc6_dropout: float, dropout: float) -> BackboneSpec:
    """VGG-16 (sec. 5.2), fine-tuned. The paper does not say how: rate, decay and augmentation are TS-LSTM's code's.

    Dropout after fc6 and after fc7 is the code's.
    """
    return BackboneSpec(
        name="vgg16",
        weights="imagenet",
        finetune=FinetuneSpec(
            epochs=30,  # ours
            batch_size=64,
            optimizer=OptimizerSpec(name="sgd", learning_rate=5e-4, weight_decay=1e-4),
            milestones=(10, 20),  # ours
            fc6_dropout=fc6_dropout,
            dropout=dropout,
        ),
    )


def _training(epochs: int) -> TrainingSpec:
    """Section 5.2: RMSProp at a rate of 1e-3, batches of 128, no weight decay, no clipping; epochs: code."""
    # rate and decay: sec. 5.2; epsilon, and where it stands: code
    optimizer = OptimizerSpec(name="rmsprop", learning_rate=1e-3, decay=0.9, epsilon=1e-6, epsilon_inside_root=True)
    return TrainingSpec(epochs=epochs, batch_size=128, optimizer=optimizer, checkpoint_epochs=10)
