"""The networks of Relational LSTM (arXiv 1811.07059), with each number's section.

Deviations: its weights are those of timm's ResNet-101-v2, since the paper does not say whose its own are; how flow is
computed it does not say either, so that algorithm and bound are TSN's.
"""

from __future__ import annotations

from typing import Literal

from services.recipes import memory
from services.specs import (
    BackboneSpec,
    EndToEndSpec,
    EvaluationSpec,
    ExperimentSpec,
    FlowSpec,
    FlowStreamSpec,
    FusionSpec,
    OptimizerSpec,
    RelationalLSTM,
    StageWeights,
    TrainingSpec,
)


def ucf101() -> ExperimentSpec:
    """The two-branch network, trained end to end on 8 snippets of each clip (sec. 5.2)."""
    return ExperimentSpec(
        name="Relational LSTM",
        dataset="ucf101",
        model=RelationalLSTM(branches="both", segments=8, momentum=0.001, dropout=0.8),
        backbone=BackboneSpec(
            name="resnet101_v2", weights="imagenet", finetune=None, end_to_end=EndToEndSpec(snippets=8)
        ),
        flow=FlowSpec(algorithm="tvl1", bound=20, stack=10),  # stack: sec. 4
        training=_training(epochs=50, milestones=(35, 45)),
        flow_stream=FlowStreamSpec(
            model=RelationalLSTM(branches="both", segments=8, momentum=0.001, dropout=0.7),
            training=_training(epochs=60, milestones=(45, 55)),
            from_rgb=True,
        ),
        evaluation=EvaluationSpec(frames=8, positions=4, crops="five", average="logits"),  # sec. 5.2
        fusion=FusionSpec(method="logits", rgb=0.45, flow=0.55),  # Table 5, caption
    )


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51, with its weights of the streams (Table 5, caption)."""
    changes = {"dataset": "hmdb51", "fusion": FusionSpec(method="logits", rgb=0.33, flow=0.67)}
    return ucf101().model_copy(update=changes)


def branch(branches: Literal["local", "non-local"]) -> ExperimentSpec:
    """One branch of it alone (Table 3)."""
    spec = ucf101()
    assert spec.flow_stream is not None
    rgb, flow = (
        RelationalLSTM(branches=branches, segments=8, momentum=0.001, dropout=dropout) for dropout in (0.8, 0.7)
    )
    own = spec.flow_stream.model_copy(update={"model": flow})
    changes = {"name": f"Relational LSTM, {branches} branch", "model": rgb, "flow_stream": own}
    return spec.model_copy(update=changes)


def standalone() -> ExperimentSpec:
    """The non-local branch alone on split 1, whose flow network starts from TSN's flow network (Table 1)."""
    spec = branch("non-local")
    assert spec.flow_stream is not None
    weights = StageWeights(recipe="tsn_resnet101_v2_ucf101", stream="flow", part="model")
    flow = {"from_rgb": False, "backbone": spec.backbone.model_copy(update={"weights": weights})}
    changes = {
        "name": "Relational LSTM, standalone",
        "splits": (1,),
        "flow_stream": spec.flow_stream.model_copy(update=flow),
        "fusion": FusionSpec(method="logits", rgb=0.5, flow=0.5),  # Table 1, caption
    }
    return spec.model_copy(update=changes)


def tsn() -> ExperimentSpec:
    """TSN on the same backbone, split and stacks of flow (Table 1); how it is trained is TSN's."""
    spec = memory.tsn()
    changes = {
        "name": "TSN on ResNet-101-v2 (Relational LSTM)",
        "splits": (1,),
        "backbone": spec.backbone.model_copy(update={"name": "resnet101_v2"}),
        "flow": FlowSpec(algorithm="tvl1", bound=20, stack=10),  # stack: sec. 4
        "fusion": FusionSpec(method="logits", rgb=0.35, flow=0.65),  # Table 1, caption
    }
    return spec.model_copy(update=changes)


def _training(epochs: int, milestones: tuple[int, ...]) -> TrainingSpec:
    """Everything from sec. 5.2."""
    optimizer = OptimizerSpec(name="sgd", learning_rate=5e-4, weight_decay=5e-4)
    return TrainingSpec(epochs=epochs, batch_size=24, milestones=milestones, optimizer=optimizer)
