"""Specs: the language of an experiment, one part a file.

experiment  `ExperimentSpec`, the whole, with evaluation, fusion and resources
ensemble    `EnsembleSpec`, systems whose scores are fused
networks    `ModelSpec`, one class for each kind of temporal network
backbone    the ConvNet, its features, and how it is trained
flow        optical flow
schedule    how the learning rate falls
training    optimiser, length, augmentation
weights     where first weights come from
"""

from services.specs.backbone import (
    FEATURES,
    MAX_WEIGHTS_BYTES,
    PRETRAINED,
    BackboneSpec,
    EndToEndSpec,
    Normalization,
    features_of,
)
from services.specs.base import Spec, Stream
from services.specs.ensemble import EnsembleSpec, MemberSpec, Rule, SystemStream
from services.specs.experiment import ExperimentSpec
from services.specs.flow import (
    FLOW_DEVICES,
    FLOW_SHORT_SIDE,
    FlowAlgorithm,
    FlowCodec,
    FlowDevice,
    FlowQuantization,
    FlowSpec,
    FlowStorage,
    RaftVariant,
)
from services.specs.networks import (
    ALSTM,
    LSTM,
    TSLSTM,
    TSN,
    ConvALSTM,
    ConvLSTM,
    ConvNet,
    MaxPooling,
    MeanPooling,
    Memory,
    ModelSpec,
    MotionALSTM,
    Network,
    RelationalLSTM,
    TemporalConvNet,
    VideoLSTM,
)
from services.specs.parts import (
    PICTURES,
    Crops,
    EvaluationSpec,
    FlowStreamSpec,
    FusionMethod,
    FusionSpec,
    LocalizationSpec,
    NetworkPart,
    ResourceSpec,
    Spacing,
)
from services.specs.schedule import PlateauSchedule, ScheduleSpec, StepSchedule
from services.specs.training import (
    BATCH_NORM_REASON,
    BATCH_NORM_SAMPLES,
    AugmentationSpec,
    FinetuneSpec,
    OptimizerSpec,
    TrainingSpec,
)
from services.specs.weights import NetworkWeights, Part, StageWeights

__all__ = [
    "ALSTM",
    "BATCH_NORM_REASON",
    "BATCH_NORM_SAMPLES",
    "FEATURES",
    "FLOW_DEVICES",
    "FLOW_SHORT_SIDE",
    "LSTM",
    "MAX_WEIGHTS_BYTES",
    "PICTURES",
    "PRETRAINED",
    "TSLSTM",
    "TSN",
    "AugmentationSpec",
    "BackboneSpec",
    "ConvALSTM",
    "ConvLSTM",
    "ConvNet",
    "Crops",
    "EndToEndSpec",
    "EnsembleSpec",
    "EvaluationSpec",
    "ExperimentSpec",
    "FinetuneSpec",
    "FlowAlgorithm",
    "FlowCodec",
    "FlowDevice",
    "FlowQuantization",
    "FlowSpec",
    "FlowStorage",
    "FlowStreamSpec",
    "FusionMethod",
    "FusionSpec",
    "LocalizationSpec",
    "MaxPooling",
    "MeanPooling",
    "MemberSpec",
    "Memory",
    "ModelSpec",
    "MotionALSTM",
    "Network",
    "NetworkPart",
    "NetworkWeights",
    "Normalization",
    "OptimizerSpec",
    "Part",
    "PlateauSchedule",
    "RaftVariant",
    "RelationalLSTM",
    "ResourceSpec",
    "Rule",
    "ScheduleSpec",
    "Spacing",
    "Spec",
    "StageWeights",
    "StepSchedule",
    "Stream",
    "SystemStream",
    "TemporalConvNet",
    "TrainingSpec",
    "VideoLSTM",
    "features_of",
]
