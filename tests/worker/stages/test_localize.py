"""Tubes of networks whose attention is known: weights by hand look at the one bright position of each map."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from services.datasets.box_file import digest_of
from services.errors import DataError
from services.scores.files import read_scores
from tests.worker.stages.conftest import FRAMES, SIDE, SPACED, input_of, manifest_of
from worker.stages.features import write_features
from worker.stages.outputs import MODEL_FILE
from worker.video.survey.manifest import MANIFEST_FILE, Manifest

CELLS = 4
CELL = SIDE // CELLS
SMALL = {"hidden": 4, "attention_dim": 2, "fc_dim": 4}
SNIPPETS = {"kind": "snippets", "length": 4, "count": 3}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "alstm": {"rgb": (3, CELLS, CELLS)},
    "conv_alstm": {"flow": (3, CELLS, CELLS)},
    "motion_alstm": {"rgb": (3, CELLS, CELLS), "flow": (5,)},
    "video_lstm": {"rgb": (3, CELLS, CELLS), "flow": (2, CELLS, CELLS)},
}


def bright(frame: int, label: int) -> tuple[int, int]:
    """Return row and column of the position that attention looks at."""
    return 1 + label, frame * CELLS // FRAMES


class Scene:
    """Four test clips in which a bright position moves, and what stages need of them."""

    def __init__(self, folder: Path, stages: Any, kind: str, **size: int) -> None:
        plain = manifest_of(folder, per_class=20)
        clips = tuple(clip.model_copy(update=size) for clip in plain.clips)
        self.manifest: Manifest = plain.model_copy(update={"clips": clips})
        self.folder, self._stages, self.kind = folder, stages, kind
        (folder / MANIFEST_FILE).write_text(self.manifest.model_dump_json())
        self.test = sorted(self.manifest.splits[1].test)

    def boxes(self, shift: int = 0, frames: int = FRAMES) -> dict[str, Any]:
        """Write the true boxes, moved to the right, and return how a stage is told of them."""
        found = {}
        for name in self.test:
            label = self.manifest.by_id[name].label
            corners = [
                [frame + 1, left + shift, top, left + shift + CELL, top + CELL]
                for frame in range(FRAMES)
                for top, left in [tuple(CELL * place for place in bright(frame, label))]
            ]
            found[name] = {label: [np.array(corners, np.float32)]}
        known = {"nframes": dict.fromkeys(found, frames), "resolution": dict.fromkeys(found, (9 * SIDE, 9 * SIDE))}
        (self.folder / "boxes.pkl").write_bytes(pickle.dumps({"labels": ["Dark", "Light"], "gttubes": found, **known}))
        return {"path": str(self.folder / "boxes.pkl"), "digest": digest_of(self.folder / "boxes.pkl")}

    def localize(self, look: dict[str, Any], frames: int | None, **changes: Any) -> Any:
        """Score, then localise, by a network that was never trained."""
        given = [input_of("index", self.folder)]
        numbers = np.arange(FRAMES) if frames is None else np.linspace(0, FRAMES - 1, frames).astype(int)
        for stream, shape in SHAPES[self.kind].items():
            values = np.full((len(self.manifest.clips), len(numbers), *shape), -2.0, np.float32)
            for row, clip in enumerate(self.manifest.clips):
                for step, frame in enumerate(numbers if len(shape) == 3 else ()):
                    values[row, step, 0, *bright(frame, clip.label)] = 2
            (self.folder / stream).mkdir(exist_ok=True)
            parts = [values.reshape(-1, *shape)]
            write_features(self.folder / stream, self.manifest.clips, [len(numbers)] * len(values), parts)
            given.append(input_of("extract", self.folder / stream, stream))
        given.append(input_of("train", self._weights()))
        common = {"split": 1, "seed": 0, "streams": list(SHAPES[self.kind]), "model": {"kind": self.kind, **SMALL}}
        scored = self._stages.run("score", {**common, "average": "probabilities", "input": look}, tuple(given))
        sampled = {
            "backbone": "tiny",
            "frames": frames,
            "flow_stack": 1,
            "crop": "stretch",
            **changes.pop("sampled", {}),
        }
        params = {**common, "input": look, "sampled": sampled, "threshold": 100, "smoothing": 1, **changes}
        return self._stages.run("localize", params, (*given, scored.as_input("score")))

    def _weights(self) -> Path:
        shapes = SHAPES[self.kind]
        shape = shapes if len(shapes) > 1 else next(iter(shapes.values()))
        torch.manual_seed(0)
        network = models.build(self.kind, num_classes=2, feature_shape=shape, **SMALL)
        weights = network.state_dict()
        for name in ("feature_weight", "hidden_weight", "score_weight"):
            weights[f"attention.{name}"].zero_()
        weights["attention.feature_weight"][0, 0] = 1.0
        weights["attention.score_weight"][0, 0] = 20.0
        (self.folder / "train").mkdir(exist_ok=True)
        torch.save(weights, self.folder / "train" / MODEL_FILE)
        return self.folder / "train"


def tubes_of(finished: Any) -> dict[str, np.ndarray[Any, Any]]:
    found = np.load(finished.output / "tubes.npz")
    starts = np.cumsum(found["lengths"])[:-1]
    return dict(zip(found["clips"].tolist(), np.split(found["boxes"], starts), strict=True))


LOOKS = [(SPACED, 5), (SPACED, FRAMES), (SNIPPETS, None)]


@pytest.mark.parametrize(
    ("kind", "look", "frames"),
    [  # each network and each way to look once; the others are left to `make long`
        pytest.param(kind, *look, marks=() if number % len(LOOKS) == place else pytest.mark.long)
        for number, kind in enumerate(SHAPES)
        for place, look in enumerate(LOOKS)
    ],
)
def test_the_box_is_where_the_network_looks(tmp_path: Path, stages: Any, kind: str, look: Any, frames: Any) -> None:
    scene = Scene(tmp_path, stages, kind)
    finished = scene.localize(look, frames, boxes=scene.boxes())
    tubes = tubes_of(finished)
    assert sorted(tubes) == scene.test
    seen = range(1, 9) if frames is None else range(FRAMES) if frames == FRAMES else (0, 2, 4, 6, 9)
    for name, boxes in tubes.items():
        assert boxes.shape == (FRAMES, 4)
        for frame in seen:
            left, top, width, height = boxes[frame]
            row, column = bright(frame, scene.manifest.by_id[name].label)
            assert left <= (column + 0.5) * CELL <= left + width
            assert top <= (row + 0.5) * CELL <= top + height
            assert max(width, height) <= 2.5 * CELL
    summary = finished.summary
    assert (summary["clips"], summary["boxed"], summary["tubes"]) == (4, 4, 4)
    assert summary["recall"]["0.2"] == 1
    assert summary["centre_recall"]["0.3"] < 1
    assert summary == json.loads((finished.output / "localization.json").read_bytes())


def test_a_tube_has_the_scores_of_its_clip(tmp_path: Path, stages: Any) -> None:
    finished = Scene(tmp_path, stages, "alstm").localize(SPACED, 5)
    (scored,) = finished.task.inputs_of("score")
    found = np.load(finished.output / "tubes.npz")
    np.testing.assert_allclose(found["scores"], read_scores(scored.path).values, rtol=1e-6)
    assert finished.summary == {"clips": 4}


def test_boxes_are_those_of_the_whole_frame_where_its_centre_is_seen(tmp_path: Path, stages: Any) -> None:
    scene = Scene(tmp_path, stages, "conv_alstm", width=3 * SIDE, height=2 * SIDE)
    whole = tubes_of(scene.localize(SPACED, FRAMES))
    centre = tubes_of(scene.localize(SPACED, FRAMES, sampled={"crop": "center"}))
    scale = 73 / (2 * SIDE)  # the short side goes to 64 x 256 / 224, of which 64 are kept
    side = SIDE / scale
    for name, boxes in whole.items():
        offset = np.array([(3 * SIDE - side) / 2, (2 * SIDE - side) / 2, 0, 0])
        expected = boxes * np.array([side / 3 / SIDE, side / 2 / SIDE] * 2) + offset
        np.testing.assert_allclose(centre[name], expected, atol=2)


def test_smoothing_moves_boxes_by_little_steps(tmp_path: Path, stages: Any) -> None:
    scene = Scene(tmp_path, stages, "conv_alstm")
    jumps = [
        max(
            np.abs(np.diff(boxes[:, 0])).max()
            for boxes in tubes_of(scene.localize(SPACED, FRAMES, smoothing=n)).values()
        )
        for n in (1, 7)
    ]
    assert jumps[1] < 0.7 * jumps[0]


def test_boxes_that_do_not_fit_are_refused_or_told(tmp_path: Path, stages: Any) -> None:
    scene = Scene(tmp_path, stages, "alstm")
    boxes = scene.boxes(frames=FRAMES + 1)
    finished = scene.localize(SPACED, 5, boxes=boxes)
    (warning,) = finished.events("warning")
    assert f"{scene.test[0]} (11, decoded 10)" in warning["message"]
    scene.boxes(shift=5 * SIDE)
    with pytest.raises(DataError, match="changed since it was registered"):
        scene.localize(SPACED, 5, boxes=boxes)
    with pytest.raises(DataError, match=r"boxes of .*: tube 0 leaves the 64x64 frame at 0"):
        scene.localize(SPACED, 5, boxes={**boxes, "digest": None})
