"""Boxes of UCF101-24 from both public layouts, and from files that are no such thing."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.datasets.box_file import digest_of
from services.datasets.boxes import CLASSES, read_boxes, require_known
from services.datasets.tubes import Boxes
from services.errors import DataError

OFFICIAL = Path(__file__).parents[4] / "shared/data/annotations/ucf101-24/pyannot.pkl"


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_file(), reason=f"no official boxes at {OFFICIAL}")
def test_official_boxes() -> None:
    boxes = read_boxes(OFFICIAL)
    clips = boxes.clips
    tubes = [tube for clip in clips.values() for tube in clip.tubes]
    assert (len(clips), len(tubes)) == (3194, 4458)
    assert sum(len(clip.tubes) > 1 for clip in clips.values()) == 715
    assert {tube.label for tube in tubes} == set(range(24))
    assert all(boxes.classes[clip.tubes[0].label] == name.split("/")[0] for name, clip in clips.items())
    right = np.concatenate([tube.boxes[:, 0] + tube.boxes[:, 2] for tube in tubes])
    # uint8 would have overflowed, in so many tubes
    assert sum(bool((tube.boxes[:, 0] + tube.boxes[:, 2] >= 255).any()) for tube in tubes) >= 1445
    assert right.max() <= 320
    assert min(float(tube.boxes[:, :2].min()) for tube in tubes) == 0


ROWS = np.array([[200, 1, 100, 9]] * 2, np.uint8)


def tubes_of(boxes: object = ROWS, **changes: Any) -> dict[str, Any]:
    annotation = {"label": 1, "sf": 1, "ef": 3, "boxes": boxes, **changes}
    return {"A/v": {"numf": np.uint8(9), "label": 1, "annotations": [annotation]}}


def classes_of(rows: object, **changes: Any) -> dict[str, Any]:
    own = {"labels": ["A", "B"], "gttubes": {"A/v": {1: [rows]}}, "nframes": {"A/v": 9}}
    return {**own, "resolution": {"A/v": (240, 320)}, "train_videos": [["A/v"]], "test_videos": [[]], **changes}


def write(path: Path, content: object, protocol: int | None = None) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_small_numbers_do_not_overflow_and_count_from_nought(tmp_path: Path, protocol: int) -> None:
    clip = read_boxes(write(tmp_path / "x.pkl", tubes_of(), protocol)).clips["A/v"]
    assert (clip.frames, clip.tubes[0].first, clip.tubes[0].end, clip.tubes[0].label) == (9, 1, 3, 1)
    assert clip.tubes[0].boxes.tolist() == [[199, 0, 100, 9]] * 2
    assert clip.tubes[0].boxes[0, 0] + clip.tubes[0].boxes[0, 2] == 299


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["uint8", "int16", ">i4", "float32", "float64"])
def test_arrays_of_all_numbers_are_read(tmp_path: Path, kind: str, order: Any) -> None:
    rows = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], kind, order=order)
    for protocol in (2, 4, 5):
        found = read_boxes(write(tmp_path / "x.pkl", tubes_of(rows), protocol)).clips["A/v"].tubes[0].boxes
        assert found.tolist() == [[0, 1, 3, 4], [4, 5, 7, 8]]


def test_the_other_layout_has_corners_and_frames_from_one(tmp_path: Path) -> None:
    rows = np.array([[3, 10, 20, 30, 60], [4, 11, 20, 31, 60]], np.float32)
    boxes = read_boxes(write(tmp_path / "x.pkl", classes_of(rows), 2))
    (tube,) = boxes.clips["A/v"].tubes
    assert (boxes.classes, tube.label, tube.first) == (("A", "B"), 1, 2)
    assert tube.boxes.tolist() == [[10, 20, 20, 40], [11, 20, 20, 40]]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tubes_of(np.zeros((2, 4), np.uint8), ef=4), r"A/v: tube 0: boxes \(2, 4\) for frames 1 to 3"),
        (tubes_of(sf=-1, ef=1), "A/v: tube 0: frames -1 to 0, allowed: those of the clip, 0 to 8"),
        (tubes_of(sf=8, ef=10), "A/v: tube 0: frames 8 to 9, allowed: .* 0 to 8"),
        (tubes_of(label=24), "A/v: tube 0: label 24, allowed: 0 to 23"),
        (tubes_of(np.array([[1, 1, 5, 5], [1, 1, 0, 5]])), r"A/v: tube 0: frame 2 has box \[0.0, 0.0, 0.0, 5.0\]"),
        (tubes_of(np.array([[1, 1, 5, 5], [-9, 1, 5, 5]])), "A/v: tube 0: frame 2 has box"),
        (tubes_of(np.array([[1, 1, 5, np.nan]] * 2)), "A/v: tube 0: frame 1 has box"),
        (classes_of(np.ones((2, 4))), r"A/v: tube 0: shape \(2, 4\), allowed: \(frames, 5\)"),
        (classes_of(np.array([[1, 1, 1, 5, 5], [3, 1, 1, 5, 5.0]])), "A/v: tube 0: its frames are not in a row"),
        (classes_of(np.array([[1, 1, 1, 400, 5.0]])), "A/v: tube 0: a box ends beyond the frame of 320x240"),
        (classes_of(np.array([[1, 9, 1, 5, 5.0]])), "A/v: tube 0: frame 0 has box"),
        (classes_of(np.ones((1, 5)), nframes={"A/v": 0}), "A/v: 0 frames"),
        (classes_of(np.ones((1, 5)), nframes={}), "no boxes of UCF101-24"),
        (tubes_of([[1, 1, 5, 5]] * 2), "no boxes of UCF101-24: TypeError: got list"),
        (tubes_of(np.array([["a"] * 4] * 2)), "allowed: an array of numbers"),
        (tubes_of(np.array([[None] * 4] * 2)), "holds values of type 'O8'"),
        (tubes_of(np.zeros(2, [("a", "u1")])), "holds values of type 'V1'"),
        ([1, 2], "no boxes of UCF101-24"),
        ({"A/v": 3}, "no boxes of UCF101-24"),
        ({"A/v": [1]}, "no boxes of UCF101-24"),
        ({"A/v": {"numf": "many", "annotations": []}}, "no boxes of UCF101-24"),
        ({"A/v": {"annotations": [[]]}}, "no boxes of UCF101-24"),
    ],
)
def test_what_cannot_be_is_refused_by_file_clip_and_tube(tmp_path: Path, content: object, why: str) -> None:
    with pytest.raises(DataError, match=rf"x\.pkl: .*{why}|x\.pkl: {why}"):
        read_boxes(write(tmp_path / "x.pkl", content))


class Runs:
    """A pickle of this makes a folder where it is read by `pickle.load`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_of_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    for content in (Runs(tmp_path / "made"), tubes_of(Runs(tmp_path / "made")), tubes_of(print), tubes_of(Path("/"))):
        with pytest.raises(DataError, match="allowed: numpy arrays of numbers"):
            read_boxes(write(tmp_path / "x.pkl", content, protocol))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "name", ["numpy.f2py\ncompile", "numpy\nload", "numpy.core.multiarray\nfromfile", "_codecs\ndecode"]
)
def test_numpy_is_no_way_in_either(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.pkl").write_bytes(f"c{name}\n.".encode())
    with pytest.raises(DataError, match="allowed: numpy arrays of numbers"):
        read_boxes(tmp_path / "x.pkl")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.pkl", tubes_of()).read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x.pkl").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.pkl: no boxes"):
            read_boxes(tmp_path / "x.pkl")
    with pytest.raises(DataError, match="no such file of boxes"):
        read_boxes(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="a regular file"):
        read_boxes(tmp_path)


def test_a_file_is_known_by_its_hash(tmp_path: Path) -> None:
    file = write(tmp_path / "x.pkl", tubes_of())
    digest = digest_of(file)
    assert read_boxes(file, digest).clips
    write(file, tubes_of(sf=2, ef=4))
    with pytest.raises(DataError, match="changed since it was registered"):
        read_boxes(file, digest)
    assert digest_of(tmp_path / "elsewhere" / "x.pkl") is None
    with pytest.raises(DataError, match="no such file"):
        digest_of(tmp_path / "absent.pkl")


def test_classes_and_clips_are_those_of_the_dataset(tmp_path: Path) -> None:
    boxes: Boxes = read_boxes(write(tmp_path / "x.pkl", tubes_of()))
    file = tmp_path / "x.pkl"
    assert require_known(file, boxes, CLASSES.split(), ["A/v", "A/w"]) == 1
    with pytest.raises(DataError, match="class 'WalkingWithDog', which the dataset does not have"):
        require_known(file, boxes, CLASSES.split()[:-1], ["A/v"])
    with pytest.raises(DataError, match="1 clip, none of which"):
        require_known(file, boxes, CLASSES.split(), ["A/w"])
