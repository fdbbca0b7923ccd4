"""Temporal-Inception of 001 (arXiv 1703.10667), with each number's section."""

from __future__ import annotations

from services.recipes import ts_lstm
from services.specs import ExperimentSpec, OptimizerSpec, TemporalConvNet, TrainingSpec


def ucf101() -> ExperimentSpec:
    """Temporal-Inception with kernels 5 and 7 on the features of both streams (sec. 4.3, Table 4)."""
    changes = {
        "name": "Temporal-Inception (001)",
        "model": TemporalConvNet(kernels=(5, 7), fc_dim=1024),
        "training": TrainingSpec(  # sec. 4.2 but for batch and epochs, which are the released code's
            epochs=30,
            batch_size=16,
            milestones=(10, 20),
            optimizer=OptimizerSpec(name="adam", learning_rate=1e-4, weight_decay=0.1),
        ),
    }
    return ts_lstm.ucf101().model_copy(update=changes)


def hmdb51() -> ExperimentSpec:
    """The same on HMDB51."""
    return ucf101().model_copy(update={"dataset": "hmdb51"})
