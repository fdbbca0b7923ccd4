"""Temporal-Inception, from TS-LSTM (arXiv 1703.10667), with each number's section; "code" is its released code."""

from __future__ import annotations

from services.recipes import ts_lstm
from services.specs import ExperimentSpec, OptimizerSpec, TemporalConvNet, TrainingSpec


def ucf101() -> ExperimentSpec:
    """Temporal-Inception with kernels 5 and 7 on the features of both streams (sec. 4.3, Table 4)."""
    changes = {
        "name": "Temporal-Inception (TS-LSTM)",
        "model": TemporalConvNet(kernels=(5, 7), fc_dim=1024),
        "training": TrainingSpec(
            epochs=30,  # code
            batch_size=16,  # code
            milestones=(10, 20),  # code
            # sec. 3.4.1; code has 5e-5 here, and this rate for TS-LSTM
            optimizer=OptimizerSpec(name="adam", learning_rate=1e-4, weight_decay=0.1),
        ),
    }
    return ts_lstm.ucf101().model_copy(update=changes)


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51; its ConvNets start from UCF101's (sec. 4)."""
    return ts_lstm.on_hmdb51(ucf101())
