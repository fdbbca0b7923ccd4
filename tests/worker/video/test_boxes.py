import pickle
from pathlib import Path

import numpy as np
import pytest

from services.errors import DataError
from worker.video.boxes import CLASSES, read_boxes

OFFICIAL = Path(__file__).parents[4] / "shared/data/annotations/ucf101-24/pyannot.pkl"


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_file(), reason=f"no official boxes at {OFFICIAL}")
def test_official_boxes() -> None:
    clips = read_boxes(OFFICIAL)
    tubes = [tube for clip in clips.values() for tube in clip.tubes]
    assert (len(clips), len(tubes)) == (3194, 4458)
    assert sum(len(clip.tubes) > 1 for clip in clips.values()) == 715
    assert {tube.label for tube in tubes} == set(range(24))
    assert all(CLASSES.split()[clip.tubes[0].label] == name.split("/")[0] for name, clip in clips.items())
    right = np.concatenate([tube.boxes[:, 0] + tube.boxes[:, 2] for tube in tubes])
    assert right.max() > 255  # uint8 would have overflowed
    assert right.max() <= 330
    assert all(tube.boxes.dtype == np.int32 for tube in tubes)


def write(path: Path, boxes: object, end: int = 3) -> Path:
    annotation = {"label": 1, "sf": 1, "ef": end, "boxes": boxes}
    path.write_bytes(pickle.dumps({"A/v": {"numf": np.uint8(9), "label": 1, "annotations": [annotation]}}))
    return path


def test_small_numbers_do_not_overflow(tmp_path: Path) -> None:
    clip = read_boxes(write(tmp_path / "x.pkl", np.array([[200, 0, 100, 9]] * 2, np.uint8)))["A/v"]
    assert (clip.frames, clip.tubes[0].first, clip.tubes[0].label) == (9, 1, 1)
    assert (clip.tubes[0].boxes[0, 0] + clip.tubes[0].boxes[0, 2]) == 300


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    for bad in (print, Path("/")):
        with pytest.raises(DataError, match="allowed: numpy arrays"):
            read_boxes(write(tmp_path / "x.pkl", bad))
    with pytest.raises(DataError, match=r"A/v: boxes \(2, 4\) for frames 1 to 3"):
        read_boxes(write(tmp_path / "x.pkl", np.zeros((2, 4), np.uint8), end=4))
    with pytest.raises(DataError, match="no boxes of UCF101-24"):
        read_boxes(tmp_path / "absent.pkl")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"A/v": 3}, {"A/v": [1]}, {"A/v": {"numf": "many", "annotations": []}}, {"A/v": {"annotations": [[]]}}],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"x\.pkl: no boxes of UCF101-24"):
        read_boxes(tmp_path / "x.pkl")
