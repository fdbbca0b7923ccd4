"""Stage ``localize``: where the action is in each test clip, from a network's attention (VideoLSTM, sec. 4).

A network that was trained on labels alone gives one tube for each clip, from the first frame to the last that the test
looks at. It stands for every class, with the clip's score of that class.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import backbones
from services.datasets.boxes import read_boxes, require_known
from services.datasets.tubes import Boxes, Coordinates, Tube
from services.errors import DataError
from services.metrics import IOUS, MEAN_IOU, MEAN_IOUS
from services.params import SnippetViews
from services.scores.files import Scores, read_scores
from services.scores.fusion import log_softmax
from services.stages import LocalizeParams
from services.stores.files import write_atomically
from services.words import counted
from worker.contract import Reporter, Task
from worker.localization.metrics import Detection, Truths, recall, video_map
from worker.localization.saliency import saliency
from worker.localization.tubes import candidates, centre_box, fill, follow, smooth
from worker.stages.inputs import NetworkInput, open_input
from worker.stages.networks import trained_network
from worker.stages.splits import clips_of
from worker.training.batches import Indices
from worker.training.loop import seed_everything
from worker.video.generated.boxes import motion_shapes_boxes
from worker.video.input.dataset import chosen_frames, visible_frames
from worker.video.input.protocols import snippets
from worker.video.input.transforms import Region, center_region
from worker.video.survey.manifest import Clip, Manifest, read_manifest

TUBES_FILE, SUMMARY_FILE = "tubes.npz", "localization.json"
"""The boxes of all clips one after another, with ids, lengths and scores, and the true ones; and how good they are."""
MAX_FRAMES = 64  # whose saliency is held at once: 20 MB at 320x240
NAMED = 5  # clips that a warning names


def run(task: Task, params: LocalizeParams, report: Reporter) -> dict[str, Any]:
    """Write ``tubes.npz`` and ``localization.json``.

    Returns:
        ``clips``; where true boxes are known also ``boxed`` (clips that have some) and ``tubes`` (of those), ``boxes``,
        by which hash they are known, and by IoU ``map``, with its mean over ``0.5:0.95``, ``recall``, and
        ``centre_map`` and ``centre_recall`` of the middle of the frame, with the same scores.

    Raises:
        UserError: the dataset has no such split.
        DataError: features of a clip are missing; the boxes cannot be read, changed, or are another dataset's.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    clips = sorted(clips_of(manifest, params.split, "test"), key=lambda clip: clip.id)
    boxes = _boxes(params, manifest, clips)
    truths = {} if boxes is None else _truths(boxes, manifest, clips, report)
    seen = open_input(task, params, manifest, clips, report)
    model = trained_network(task, seen.build(params.model, len(manifest.classes)))
    tubes = list(_tubes(model, seen, params, clips, report))
    scores = _scores(task, clips)
    _write_tubes(task.output / TUBES_FILE, clips, tubes, scores, truths)
    summary: dict[str, Any] = {"clips": len(clips)}
    if boxes is not None:
        labels = [manifest.classes.index(name) for name in boxes.classes]
        summary |= {"boxes": boxes.digest, **_measured(clips, tubes, scores, truths, labels)}
        middles = [centre_box(clip.height, clip.width, len(tube)) for clip, tube in zip(clips, tubes, strict=True)]
        floor = _measured(clips, middles, scores, truths, labels)
        summary |= {f"centre_{name}": floor[name] for name in ("map", "recall")}
    write_atomically(task.output / SUMMARY_FILE, json.dumps(summary).encode())
    return summary


def _boxes(params: LocalizeParams, manifest: Manifest, clips: Sequence[Clip]) -> Boxes | None:
    """Return the true boxes of the dataset, as far as they are known."""
    if params.generator is not None:
        return motion_shapes_boxes(params.generator, [clip.id for clip in clips])
    if params.boxes is None:
        return None
    file = Path(params.boxes.path)
    boxes = read_boxes(file, params.boxes.digest)
    require_known(file, boxes, manifest.classes, manifest.by_id)
    return boxes


def _truths(boxes: Boxes, manifest: Manifest, clips: Sequence[Clip], report: Reporter) -> Truths:
    """Return the true tubes of test clips with the dataset's labels; a clip that has none is no part of a measure.

    Raises:
        DataError: a tube begins behind its clip's last frame, or a box lies outside the frame.
    """
    labels = [manifest.classes.index(name) for name in boxes.classes]
    found, doubtful = {}, []
    for clip in clips:
        boxed = boxes.clips.get(clip.id)
        if boxed is None:
            continue
        for number, tube in enumerate(boxed.tubes):
            _require_inside(clip, number, tube)
        found[clip.id] = [Tube(labels[tube.label], tube.first, tube.boxes) for tube in boxed.tubes]
        if boxed.frames != clip.frames:
            doubtful.append(f"{clip.id} ({boxed.frames}, decoded {clip.frames})")
    if doubtful:
        more = ", ..." if len(doubtful) > NAMED else ""
        have = counted(len(doubtful), "clip", "has", "have")
        report.warning(f"{have} boxes of another number of frames: {', '.join(doubtful[:NAMED])}{more}")
    return found


def _require_inside(clip: Clip, number: int, tube: Tube) -> None:
    if tube.first >= clip.frames:
        raise DataError(f"boxes of {clip.id}: tube {number} begins at frame {tube.first}, the clip has {clip.frames}")
    outside = (tube.boxes[:, :2] >= [clip.width, clip.height]).any(axis=1)
    if outside.any():
        frame = tube.first + int(outside.argmax())
        raise DataError(f"boxes of {clip.id}: tube {number} leaves the {clip.width}x{clip.height} frame at {frame}")


@torch.inference_mode()
def _tubes(
    model: nn.Module, seen: NetworkInput, params: LocalizeParams, clips: Sequence[Clip], report: Reporter
) -> Iterator[Coordinates]:
    """Yield the boxes of each clip, ``(frames, 4)``, in the frame's own pixels."""
    size = backbones.build(params.sampled.backbone).format.size  # of the ConvNet's input
    for batch, parts in seen.views():
        maps = torch.cat([model(part).attention.float() for part in parts])
        for number, of_clip in zip(batch, maps.view(len(batch), -1, *maps.shape[1:]), strict=True):
            yield _tube(clips[number], of_clip, params, size)
            report.progress(int(number) + 1, len(clips), "clips")


def _tube(clip: Clip, maps: Tensor, params: LocalizeParams, size: int) -> Coordinates:
    """Return the boxes of a clip ``(frames, 4)`` from the maps ``(V, T, h, w)`` of its V views."""
    sampled, look = params.sampled, params.input
    frames = chosen_frames(clip, sampled.frames, sampled.flow_stack, sampled.first_seconds, sampled.spacing)
    if isinstance(look, SnippetViews):
        frames = frames[snippets(len(frames), look.count, look.length)]
    numbers, means = _by_frame(frames.reshape(-1), maps.flatten(0, 1))
    region = Region(0, 0, clip.height, clip.width)
    if sampled.crop == "center":
        region = center_region(clip.height, clip.width, size)
    boxes = follow(_candidates(means, region, params.threshold))
    whole = fill(numbers, boxes, visible_frames(clip, sampled.first_seconds))
    return smooth(whole, params.smoothing)


def _by_frame(frames: Indices, maps: Tensor) -> tuple[Indices, Tensor]:
    """Return the frames that were seen, each once, and the mean of their maps, ``(F, h, w)``."""
    numbers, steps, counts = np.unique(frames, return_inverse=True, return_counts=True)
    sums = maps.new_zeros(len(numbers), *maps.shape[1:])
    sums.index_add_(0, torch.from_numpy(steps).to(maps.device), maps)
    return numbers, sums / torch.from_numpy(counts).to(maps)[:, None, None]


def _candidates(maps: Tensor, region: Region, threshold: float) -> Iterator[Coordinates]:
    """Yield the boxes of what is salient in each frame; saliency is taken on the device of the maps."""
    height, width = round(region.height), round(region.width)
    for part in torch.split(maps, MAX_FRAMES):
        values = saliency(part, height, width)
        peaks = values.flatten(1).argmax(1).tolist()
        for salient, peak in zip((values >= threshold).cpu().numpy(), peaks, strict=True):
            boxes = candidates(salient, divmod(peak, width))
            boxes[:, :2] += [region.left, region.top]
            yield boxes


def _scores(task: Task, clips: Sequence[Clip]) -> Scores:
    """Return the probabilities ``(N, K)`` of clips, from the stage that scored the network."""
    (scored,) = task.inputs_of("score")
    file = read_scores(scored.path)
    rows = {name: row for row, name in enumerate(file.clips)}
    values = file.values[[rows[clip.id] for clip in clips]]
    return np.exp(log_softmax(values)) if file.kind == "logits" else values


def _measured(
    clips: Sequence[Clip], tubes: Sequence[Coordinates], scores: Scores, truths: Truths, labels: Sequence[int]
) -> dict[str, Any]:
    """Return how good tubes are; those of clips without true boxes do not count."""
    found = [
        Detection(clip.id, float(row[label]), Tube(label, 0, boxes))
        for clip, boxes, row in zip(clips, tubes, scores, strict=True)
        if clip.id in truths
        for label in labels
    ]
    ones = [entry for entry in found if entry.tube.label == labels[0]]  # a clip's tube is the same for every class
    means = video_map(found, truths, labels, sorted({*IOUS, *MEAN_IOUS}))
    return {
        "boxed": len(truths),
        "tubes": sum(map(len, truths.values())),
        "map": {
            **_by_text({iou: means[iou] for iou in IOUS}),
            MEAN_IOU: fmean(means[iou] for iou in MEAN_IOUS),
        },
        "recall": _by_text(recall(ones, truths)),
    }


def _by_text(values: Mapping[float, float]) -> dict[str, float]:
    return {f"{iou:g}": value for iou, value in values.items()}


def _write_tubes(
    path: Path, clips: Sequence[Clip], tubes: Sequence[Coordinates], scores: Scores, truths: Truths
) -> None:
    content = io.BytesIO()
    true = [(name, tube) for name, own in sorted(truths.items()) for tube in own]
    np.savez_compressed(
        content,
        clips=np.array([clip.id for clip in clips]),
        lengths=np.array([len(boxes) for boxes in tubes]),
        boxes=np.concatenate(tubes).astype(np.float32),
        scores=scores.astype(np.float32),
        true_clips=np.array([name for name, _ in true], dtype=np.str_),
        true_firsts=np.array([tube.first for _, tube in true], dtype=np.int64),
        true_lengths=np.array([len(tube.boxes) for _, tube in true], dtype=np.int64),
        true_boxes=np.concatenate([np.zeros((0, 4), np.float32), *(tube.boxes for _, tube in true)]).astype(np.float32),
    )
    write_atomically(path, content.getvalue())
