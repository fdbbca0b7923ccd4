"""What the training stages leave behind: weights with what they have seen, a history, and a few numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from services.bundles.contents import MODEL_FILE as BUNDLED_FILE
from services.specs import TrainingSpec
from services.stores.files import write_atomically
from worker.contract import Task
from worker.stages.seen import UNKNOWN, Seen, marked, read_seen
from worker.stages.splits import Division
from worker.training import checkpoint
from worker.training.schedule import History
from worker.training.selection import best_epoch

MODEL_FILE, HISTORY_FILE = "model.pt", "history.json"


def write_model(task: Task, model: nn.Module, history: History, seen: Seen) -> None:
    """Write the output of a training stage."""
    checkpoint.save(task.output / MODEL_FILE, marked(model.state_dict(), seen))
    write_atomically(task.output / HISTORY_FILE, json.dumps(history).encode())


def read_model(folder: Path) -> dict[str, Any]:
    """Return the state dict in the output of a training stage, or in a folder that a bundle was unpacked into."""
    bundled = folder / BUNDLED_FILE
    return load_file(bundled) if bundled.exists() else checkpoint.load(folder / MODEL_FILE)


def seen_by(folder: Path) -> Seen:
    """Return what the weights in such a folder have seen; a bundle does not say it."""
    return UNKNOWN if (folder / BUNDLED_FILE).exists() else read_seen(folder / MODEL_FILE)


def summary(
    model: nn.Module, history: History, division: Division, training: TrainingSpec, dropped: Sequence[str] = ()
) -> dict[str, Any]:
    """Say in a few numbers what was trained, which epoch's weights were kept, and what the last one's reached.

    ``dropped`` names the first weights that were left out, such as a classifier of other classes.
    """
    chosen, name = len(history), training.held_out
    tried: dict[str, Any] = {}
    if name is not None:
        loss, metric = f"{name}_loss", f"{name}_accuracy"
        chosen = len(history) if training.selection == "last" else best_epoch(history, metric)
        kept = history[chosen - 1]
        tried = {number: kept[number] for number in (loss, metric) if number in kept}  # a checkpoint of before: no loss
        tried |= {f"last_{metric}": history[-1][metric], f"{name}_clips": len(division.held_out)}
        tried |= {} if division.unit is None else {"validation_by": division.unit}
    return {
        "epochs": len(history),
        "selection": training.selection,
        "selected_epoch": chosen,
        "train_loss": history[chosen - 1]["train_loss"],
        "train_accuracy": history[chosen - 1]["train_accuracy"],
        "train_clips": len(division.train),
        "data_wait_ratio": _waited(history),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **({"dropped": list(dropped)} if dropped else {}),
        **tried,
    }


def _waited(history: History) -> float:
    """Return which part of the time of all epochs was spent waiting for data."""
    seconds = sum(row["epoch_seconds"] for row in history)
    return sum(row["data_wait_ratio"] * row["epoch_seconds"] for row in history) / max(seconds, 1e-9)
