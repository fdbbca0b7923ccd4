"""What the training stages leave behind: weights, a history, and a few numbers."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from services.stores.files import write_atomically
from worker.contract import Task
from worker.training import checkpoint
from worker.training.schedule import History

MODEL_FILE, HISTORY_FILE = "model.pt", "history.json"


def write_model(task: Task, model: nn.Module, history: History) -> None:
    """Write the output of a training stage."""
    checkpoint.save(task.output / MODEL_FILE, model.state_dict())
    write_atomically(task.output / HISTORY_FILE, json.dumps(history).encode())


def summary(model: nn.Module, history: History, clips: int) -> dict[str, Any]:
    """Say in a few numbers what was trained."""
    last = history[-1]
    return {
        "epochs": len(history),
        "train_loss": last["train_loss"],
        "train_accuracy": last["train_accuracy"],
        "train_clips": clips,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
