"""Stage ``score``: the test protocol, which gives every test clip of a split its class scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from services.stages import ScoreParams
from worker.stages.features import Features, read_streams
from worker.stages.finetune import MODEL_FILE
from worker.stages.metrics import measure
from worker.stages.scores import Labels, ScoreFile, Scores, log_softmax, write_scores
from worker.stages.splits import clips_of
from worker.stages.train import build_model
from worker.task import Reporter, Task
from worker.training import checkpoint
from worker.training.loop import seed_everything
from worker.video.manifest import Clip, Manifest, read_manifest

BATCH_SIZE = 256


def run(task: Task, params: ScoreParams, report: Reporter) -> dict[str, Any]:
    """Write ``scores.json``: one forward pass for each test clip (001, section 4.2: no averaging of predictions).

    Returns:
        ``clips``, the metrics of the test clips, and ``train_top1``, the accuracy over the training clips.

    Raises:
        UserError: the dataset has no such split.
        DataError: features of a clip are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    train_clips = clips_of(manifest, params.split, "train")
    test_clips = sorted(clips_of(manifest, params.split, "test"), key=lambda clip: clip.id)
    features = read_streams(task, params.streams, [*test_clips, *train_clips])
    model = _model(task, params, manifest, features)
    logits = _logits(task, model, features, report)
    test, train = logits[: len(test_clips)], logits[len(test_clips) :]
    values = np.exp(log_softmax(test)) if params.average == "probabilities" else test
    write_scores(task.output, _score_file(params, manifest, test_clips, values))
    train_top1 = measure(train, _labels(train_clips)).top1
    return {**measure(test, _labels(test_clips)).numbers(), "train_top1": train_top1}


def _model(task: Task, params: ScoreParams, manifest: Manifest, features: Features) -> nn.Module:
    model = build_model(params.model, len(manifest.classes), features.shape)
    (trained,) = task.inputs_of("train")
    model.load_state_dict(checkpoint.load(trained.path / MODEL_FILE))
    return model.to(task.device).eval()


@torch.inference_mode()
def _logits(task: Task, model: nn.Module, features: Features, report: Reporter) -> Scores:
    """Return logits ``(N, K)`` of features ``(N, T, D)``."""
    logits = []
    for first in range(0, len(features), BATCH_SIZE):
        batch = torch.from_numpy(features[first : first + BATCH_SIZE]).to(task.device)
        logits.append(model(batch).logits.double().cpu().numpy())
        report.progress(min(first + BATCH_SIZE, len(features)), len(features), "clips")
    return np.concatenate(logits)


def _labels(clips: Sequence[Clip]) -> Labels:
    return np.array([clip.label for clip in clips], dtype=np.int64)


def _score_file(params: ScoreParams, manifest: Manifest, clips: Sequence[Clip], values: Scores) -> ScoreFile:
    return ScoreFile(
        dataset=manifest.dataset,
        split=params.split,
        streams=params.streams,
        seed=params.seed,
        classes=manifest.classes,
        clips=tuple(clip.id for clip in clips),
        labels=tuple(clip.label for clip in clips),
        scores=tuple(map(tuple, values.tolist())),
        kind=params.average,
    )
