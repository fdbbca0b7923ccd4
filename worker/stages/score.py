"""Stage ``score``: the test protocol, which gives every test clip of a split its class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from services.errors import UserError
from services.params import SpacedFeatures
from services.pictures import write_test
from services.planning.linter import seen_clips
from services.scores.files import Labels, ScoreFile, Scores, write_scores
from services.stages import ScoreParams
from worker.contract import Reporter, Task
from worker.stages.class_scores import Watch, class_scores
from worker.stages.inputs import NetworkInput, open_input
from worker.stages.metrics import measure
from worker.stages.networks import trained_network
from worker.stages.outputs import MODEL_FILE
from worker.stages.seen import among, read_seen
from worker.stages.splits import clips_of
from worker.stages.watched import Watched
from worker.training.loop import seed_everything
from worker.video.survey.manifest import Clip, Manifest, read_manifest


def run(task: Task, params: ScoreParams, report: Reporter) -> dict[str, Any]:
    """Write ``scores.npz``: one forward pass for each test clip (TS-LSTM, sec. 3.4.1), or the mean over its views.

    ``pictures.npz`` beside it has what the network did with the clips, for pictures.

    Returns:
        ``clips``, the metrics of the test clips, ``weights_known``, whether the weights say all that they have seen,
        none of which is tested on, ``chosen_on_test``, whether they say that test clips chose an epoch, ``pictured``,
        the ids of clips whose frames are kept, ``embedded``, whether embeddings are, and where a clip is seen once
        ``train_top1``, the accuracy over the training clips.

    Raises:
        UserError: the dataset has no such split, or the weights have seen clips that it tests on.
        DataError: features of a clip, or the clip itself, are missing.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    test_clips = sorted(clips_of(manifest, params.split, "test"), key=lambda clip: clip.id)
    # Many views of the training clips would cost more than the test itself.
    seen_once = isinstance(params.input, SpacedFeatures)
    train_clips = clips_of(manifest, params.split, "train") if seen_once else ()
    known, chosen = _require_unseen(task, params.split, manifest)
    model, seen = network_of(task, params, manifest, [*test_clips, *train_clips], report)
    watched = Watched(model, params, test_clips)
    scores, views = _scores_by(model, seen, params, len(test_clips) + len(train_clips), report, watched)
    test, train = scores[: len(test_clips)], scores[len(test_clips) :]
    found = _score_file(params, manifest, test_clips, test)
    write_scores(task.output, replace(found, protocol=protocol_of(params), stage=task.key, views=views))
    pictures = watched.pictures(task, manifest, seen.backbone, report)
    write_test(task.output, pictures)
    left = {"pictured": [strip.clip for strip in pictures.strips], "embedded": pictures.embeddings is not None}
    numbers = {**measure(test, _labels(test_clips)).numbers(), "weights_known": known, "chosen_on_test": chosen, **left}
    return {**numbers, "train_top1": measure(train, _labels(train_clips)).values["top1"]} if train_clips else numbers


def scores_of(
    task: Task, params: ScoreParams, manifest: Manifest, clips: Sequence[Clip], report: Reporter
) -> tuple[Scores, int]:
    """Return the scores ``(N, K)`` of clips, each the mean over its views, and how many those are.

    Raises:
        UserError: clips have fewer steps than the network needs.
        DataError: features of a clip, or the clip itself, are missing.
    """
    model, seen = network_of(task, params, manifest, clips, report)
    return _scores_by(model, seen, params, len(clips), report)


def _scores_by(
    model: nn.Module,
    seen: NetworkInput,
    params: ScoreParams,
    clips: int,
    report: Reporter,
    watch: Watch | None = None,
) -> tuple[Scores, int]:
    parts, views = [], 1
    for found in class_scores(model, seen.views(), params.average, watch):
        parts.append(found.values)  # in the order of the clips
        views = found.views
        report.progress(int(found.clips[-1]) + 1, clips, "clips")
    return np.concatenate(parts), views


def network_of(
    task: Task, params: ScoreParams, manifest: Manifest, clips: Sequence[Clip], report: Reporter
) -> tuple[nn.Module, NetworkInput]:
    """Return a trained network, ready for the test, and what it sees of clips; see `scores_of`."""
    seen = open_input(task, params, manifest, clips, report)
    return trained_network(task, seen.build(params.model, len(manifest.classes))), seen


def protocol_of(params: ScoreParams) -> dict[str, Any]:
    """Return what of a clip is looked at, and what of its views is averaged, as JSON."""
    return {"average": params.average, "input": params.input.model_dump(mode="json")}


def _require_unseen(task: Task, split: int, manifest: Manifest) -> tuple[bool, bool]:
    """Refuse weights that say of themselves that they were trained on test clips, by way of the first ones too.

    Returns:
        Whether they say all that they have seen, and whether they say that test clips chose an epoch.
    """
    (trained,) = task.inputs_of("train") or task.inputs_of("finetune")
    said, chosen = among(manifest, read_seen(trained.path / MODEL_FILE))
    tested = set(manifest.splits[split].test)
    shared = {number: len(tested & set(other.train)) for number, other in manifest.splits.items()}
    found = [*seen_clips("backbone.weights", said, manifest.dataset, split, shared)]
    wrong = [finding.sentence for finding in found if finding.severity == "refused"]
    if wrong:
        raise UserError("; ".join(wrong))
    return not found, chosen


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
        labels=_labels(clips),
        scores=values,
        kind=params.average,
    )
