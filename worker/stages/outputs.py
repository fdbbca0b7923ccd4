"""What the training stages leave behind: weights with what they have seen, a history, and a few numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from services.stores.files import write_atomically
from worker.contract import Task
from worker.stages.seen import Seen, marked
from worker.training import checkpoint
from worker.training.schedule import History

MODEL_FILE, HISTORY_FILE = "model.pt", "history.json"


def write_model(task: Task, model: nn.Module, history: History, seen: Seen) -> None:
    """Write the output of a training stage."""
    checkpoint.save(task.output / MODEL_FILE, marked(model.state_dict(), seen))
    write_atomically(task.output / HISTORY_FILE, json.dumps(history).encode())


def summary(model: nn.Module, history: History, clips: int, dropped: Sequence[str] = ()) -> dict[str, Any]:
    """Say in a few numbers what was trained, and which first weights were ``dropped``, if any."""
    last = history[-1]
    return {
        "epochs": len(history),
        "train_loss": last["train_loss"],
        "train_accuracy": last["train_accuracy"],
        "train_clips": clips,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **({"dropped": list(dropped)} if dropped else {}),
    }
