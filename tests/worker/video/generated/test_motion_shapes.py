import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.datasets.motion_shapes import MotionShapesParams
from services.datasets.ucf101 import read_ucf101
from worker.video.decoding.decode import decode_clip
from worker.video.flow import optical_flow
from worker.video.generated.motion_shapes import (
    CLASSES,
    GROUPS,
    REST_FIELDS,
    GeneratedFolders,
    clip_path,
    generate_motion_shapes,
    motion_shapes_folders,
    pair_frames,
)
from worker.video.generated.shapes import BLUE, RED, background
from worker.video.input.sampling import spaced_frames

PAIRS = list(zip(CLASSES[::2], CLASSES[1::2], strict=True))
ORDER_PAIRS = PAIRS[1:]
PARAMS = MotionShapesParams(seed=3, clips_per_group=1, size=32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFolders:
    return generate_motion_shapes(PARAMS, tmp_path_factory.mktemp("data"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(folders: GeneratedFolders, name: str, group: int) -> np.ndarray:
    return decode_clip(folders.clips / clip_path(name, group, 1))


def test_layout_and_lists_are_those_of_ucf101(folders: GeneratedFolders) -> None:
    annotations = read_ucf101(folders.lists)
    assert annotations.classes == CLASSES
    assert (folders.lists / "classInd.txt").read_bytes().startswith(b"1 SlideLeft\r\n")
    listed = {clip.path for clip in annotations.clips()}
    assert listed == {path.relative_to(folders.clips).as_posix() for path in folders.clips.rglob("*.avi")}
    assert len(listed) == 8 * 25
    for number, split in annotations.splits.items():
        groups = [{int(clip.path[-10:-8]) for clip in part} for part in (split.train, split.test)]
        assert groups[1] == set(range(7 * number - 6, 7 * number + 1))
        assert groups[0] == set(GROUPS) - groups[1]


def test_equal_parameters_give_equal_bytes_and_others_another_folder(folders: GeneratedFolders, tmp_path: Path) -> None:
    again = generate_motion_shapes(PARAMS, tmp_path)
    assert contents(again.clips.parent) == contents(folders.clips.parent)
    other = motion_shapes_folders(PARAMS.model_copy(update={"seed": 4}), tmp_path)
    assert other.clips.parent != again.clips.parent


def test_a_finished_dataset_is_left_alone(folders: GeneratedFolders) -> None:
    def refuse(done: int, total: int) -> None:
        raise AssertionError("generated again")

    assert generate_motion_shapes(PARAMS, folders.clips.parents[1], refuse) == folders


def test_processes_at_once_and_leftovers_do_no_harm(folders: GeneratedFolders, tmp_path: Path) -> None:
    expected = motion_shapes_folders(PARAMS, tmp_path)
    leftover = tmp_path / f".{expected.clips.parent.name}.tmp" / "UCF-101"
    leftover.mkdir(parents=True)
    (leftover / "half.avi").write_bytes(b"half")
    calls: list[int] = []
    threads = [
        threading.Thread(target=generate_motion_shapes, args=(PARAMS, tmp_path, lambda done, _: calls.append(done)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 100  # one of them wrote
    assert calls[-1] == 200
    assert contents(expected.clips.parent) == contents(folders.clips.parent)
    assert not leftover.parent.exists()


def test_a_failure_leaves_no_dataset(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_motion_shapes(PARAMS, tmp_path, fail)
    assert not motion_shapes_folders(PARAMS, tmp_path).clips.parent.exists()


@pytest.mark.parametrize("pair", PAIRS)
def test_both_clips_of_a_pair_have_the_same_frames(folders: GeneratedFolders, pair: tuple[str, str]) -> None:
    for group in GROUPS:
        first, second = (read(folders, name, group) for name in pair)
        assert len(first) % 2 == 1
        assert 32 <= len(first) <= 48
        assert sorted(map(bytes, first)) == sorted(map(bytes, second))
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("pair", ORDER_PAIRS)
def test_both_clips_of_an_order_pair_have_the_same_motions(folders: GeneratedFolders, pair: tuple[str, str]) -> None:
    for group in (1, 9, 25):
        first, second = (motions(read(folders, name, group)) for name in pair)
        assert len(first) == len(second)
        assert first == second


def motions(frames: np.ndarray) -> list[bytes]:
    """Return all pairs of neighbouring frames that differ by more than their colour, sorted."""
    return sorted(bytes(a) + bytes(b) for a, b in pairwise(frames) if np.abs(luma(a) - luma(b)).max() > 8)


def luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("name", ["GrowShrink", "ShrinkGrow", "SpinSlide", "SlideSpin"])
def test_phases_are_parted_by_rest(folders: GeneratedFolders, name: str) -> None:
    for group in GROUPS:
        frames = read(folders, name, group)
        moves = np.flatnonzero(np.abs(np.diff(luma(frames), axis=0)).max(axis=(1, 2)) > 8)
        gaps = np.diff(moves) - 1
        assert moves[0] >= REST_FIELDS
        assert len(frames) - 2 - moves[-1] >= REST_FIELDS
        assert gaps.max() >= 2 * REST_FIELDS + 1


def test_colours_have_equal_luma() -> None:
    assert luma(np.array(RED)) == pytest.approx(luma(np.array(BLUE)), abs=0.1)


def test_colour_pair_has_no_flow(folders: GeneratedFolders) -> None:
    for name in ("RedBlue", "BlueRed"):
        grey = luma(read(folders, name, 4)).round().astype(np.uint8)
        assert max(np.abs(field).mean() for field in optical_flow(grey, "farneback")) < 0.02


def test_pooled_flow_tells_the_slides_apart(folders: GeneratedFolders) -> None:
    for group in range(1, 6):
        means = []
        for name in ("SlideLeft", "SlideRight"):
            grey = luma(read(folders, name, group)).round().astype(np.uint8)
            means.append(np.mean([field[0].mean() for field in optical_flow(grey, "farneback")]))
        assert means[0] < -0.05
        assert means[1] > 0.05


def features(name: str, groups: range, times: str) -> np.ndarray:
    """Return brightness on a 4 x 4 grid of each colour, of 9 spaced frames: (N, 9, 48), or their mean (N, 48)."""
    rows = []
    for group in groups:
        scene = background(64, np.random.default_rng([0, group]))
        for number in (1, 2):
            first, second = pair_frames(paired(name), MotionShapesParams(), scene, group, number)
            frames = first if name == paired(name) else second
            chosen = frames[spaced_frames(len(frames), 9, 5)].astype(np.float64) - scene
            grid = chosen.reshape(9, 4, 16, 4, 16, 3).mean(axis=(2, 4)).reshape(9, 48)
            rows.append(grid if times == "frames" else grid.mean(axis=0, keepdims=True))
    return np.concatenate(rows)


def paired(name: str) -> str:
    return next(pair[0] for pair in PAIRS if name in pair)


def accuracy(names: tuple[str, ...], times: str) -> float:
    """Return the test accuracy of a linear probe, trained on groups 8 to 25."""
    parts = []
    for groups in (range(8, 26), range(1, 8)):
        values = [features(name, groups, times) for name in names]
        labels = np.repeat(np.arange(len(names)), [len(value) for value in values])
        parts.append((np.concatenate(values), labels))
    (train, train_labels), (test, test_labels) = parts
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-9
    train, test = ((np.c_[(x - mean) / scale, np.ones(len(x))]) for x in (train, test))
    targets = np.eye(len(names))[train_labels]
    weights = np.linalg.solve(train.T @ train + 10.0 * np.eye(train.shape[1]), train.T @ targets)
    return float(((test @ weights).argmax(axis=1) == test_labels).mean())


def test_one_frame_is_at_chance_among_all_classes() -> None:
    assert accuracy(CLASSES, "frames") < 1 / 8 + 0.06


@pytest.mark.parametrize("pair", PAIRS)
def test_pooled_frames_are_at_chance_inside_pairs(pair: tuple[str, str]) -> None:
    assert 0.25 < accuracy(pair, "mean") < 0.75  # 28 clips: chance is 0.5 +- 0.09
