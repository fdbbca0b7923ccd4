"""Stage ``score``: the test protocol, which gives every test clip of a split its class scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from services.stages import EndToEndParams, ScoreParams, ViewParams
from worker.contract import Reporter, Task
from worker.stages.backbone import frame_source
from worker.stages.features import StreamFeatures, stream_features
from worker.stages.loaders import loader_workers
from worker.stages.metrics import measure
from worker.stages.networks import build_end_to_end, build_network
from worker.stages.outputs import MODEL_FILE
from worker.stages.scores import Labels, ScoreFile, Scores, write_scores
from worker.stages.splits import clips_of
from worker.training import checkpoint
from worker.training.batches import to_device
from worker.training.loader import Loader
from worker.training.loop import seed_everything
from worker.training.loss import clip_logits, clip_probabilities
from worker.video.input.crops import TestCrops
from worker.video.input.protocols import snippets
from worker.video.input.snippets import ViewDataset
from worker.video.survey.manifest import Clip, Manifest, read_manifest

BATCH_BYTES = 256 << 20  # of features that are scored at once
MAX_BATCH = 256  # views
MAX_FRAMES = 512  # that go through a backbone at once; 10 crops of 25 frames are 250


def run(task: Task, params: ScoreParams, report: Reporter) -> dict[str, Any]:
    """Write ``scores.json``: one forward pass for each test clip (TS-LSTM, sec. 3.4.1), or the mean over its views.

    Returns:
        ``clips``, the metrics of the test clips, and where a clip is seen once ``train_top1``, the accuracy over the
        training clips.

    Raises:
        UserError: the dataset has no such split.
        DataError: features of a clip, or the clip itself, are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    test_clips = sorted(clips_of(manifest, params.split, "test"), key=lambda clip: clip.id)
    if params.end_to_end is not None:
        scores = _on_frames(task, params, params.end_to_end, manifest, test_clips, report)
        write_scores(task.output, _score_file(params, manifest, test_clips, scores))
        return measure(scores, _labels(test_clips)).numbers()
    # Many views of the training clips would cost more than the test itself.
    train_clips = clips_of(manifest, params.split, "train") if params.views is None else ()
    scores = _on_features(task, params, manifest, [*test_clips, *train_clips], report)
    test, train = scores[: len(test_clips)], scores[len(test_clips) :]
    write_scores(task.output, _score_file(params, manifest, test_clips, test))
    numbers = measure(test, _labels(test_clips)).numbers()
    return {**numbers, "train_top1": measure(train, _labels(train_clips)).top1} if train_clips else numbers


@torch.inference_mode()
def _on_features(
    task: Task, params: ScoreParams, manifest: Manifest, clips: Sequence[Clip], report: Reporter
) -> Scores:
    """Return scores ``(N, K)`` of clips whose features are there."""
    features = stream_features(task, params.streams, params.model, clips)
    views = params.views
    steps = int(features.lengths.min()) if views is None or views.snippet is None else views.snippet
    model = _trained(task, build_network(params.model, len(manifest.classes), features.shape, steps))
    average = _average(params)
    scores = np.empty((len(clips), len(manifest.classes)))
    for rows in _batches(features, views):
        inputs = features.take(*_views(features, rows, views))
        found = average(model(to_device(inputs, torch.device(task.device))).logits.double())
        scores[rows] = found.view(len(rows), -1, found.shape[1]).mean(1).cpu().numpy()
        report.progress(int(rows[-1]) + 1, len(clips), "clips")
    return scores


def _batches(features: StreamFeatures, views: ViewParams | None) -> list[Labels]:
    """Cut the clips into batches of so many views that their features take a bounded memory."""
    per_clip = 1 if views is None else views.frames
    steps = int(features.lengths.max()) if views is None or views.snippet is None else views.snippet
    step_bytes = features.num_bytes // int(features.lengths.sum())
    size = max(1, min(MAX_BATCH // per_clip, BATCH_BYTES // (step_bytes * steps * per_clip)))
    return np.split(np.arange(len(features)), range(size, len(features), size))


def _views(features: StreamFeatures, rows: Labels, views: ViewParams | None) -> tuple[Labels, Labels | None]:
    """Return what to take of clips: all steps, or several runs of steps of each (VideoLSTM, sec. 5.2)."""
    if views is None or views.snippet is None:
        return rows, None
    runs = [snippets(int(length), views.frames, views.snippet) for length in features.lengths[rows]]
    return rows.repeat(views.frames), np.concatenate(runs)


def _on_frames(
    task: Task,
    params: ScoreParams,
    frames: EndToEndParams,
    manifest: Manifest,
    clips: Sequence[Clip],
    report: Reporter,
) -> Scores:
    """Return scores ``(N, K)`` of clips whose frames go through network and backbone, view by view."""
    built = build_end_to_end(task, frames, params.model, len(manifest.classes))
    model, backbone = _trained(task, built.network), built.backbone
    views = params.views
    assert views is not None
    dataset = ViewDataset(
        clips,
        frame_source(task, manifest, frames, report, cache_bytes=0),
        TestCrops(views.crops, backbone.format, flow=frames.stream == "flow"),
        frames=views.frames,
        positions=views.positions,
        stack=max(1, frames.flow_stack),
        first_seconds=frames.first_seconds,
    )
    loader = Loader[Tensor](
        dataset,
        batch_size=None,
        num_workers=loader_workers(task, frames.flow, dataset.item_bytes),
        pin_memory=task.device != "cpu",
    )
    average = _average(params)
    scores = np.empty((len(clips), len(manifest.classes)))  # at once: a row kept from each pass would part the heap
    # Not around the network's making: a backbone of timm finds by a gradient what it can be cut off from.
    with torch.inference_mode():
        for number, batch in enumerate(loader):
            views_at_once = max(1, MAX_FRAMES // views.frames)
            parts = torch.split(batch.to(task.device, non_blocking=True), views_at_once)
            found = torch.cat([average(model(dataset.finish(part)).logits.double()) for part in parts])
            scores[number] = found.mean(0).cpu().numpy()
            report.progress(number + 1, len(clips), "clips")
    return scores


def _average(params: ScoreParams) -> Callable[[Tensor], Tensor]:
    return clip_probabilities if params.average == "probabilities" else clip_logits


def _trained(task: Task, model: nn.Module) -> nn.Module:
    (trained,) = task.inputs_of("train")
    model.load_state_dict(checkpoint.load(trained.path / MODEL_FILE))
    return model.to(task.device).eval()


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
