"""Features on disk: only the rows that are asked for, of clips of unequal length, in one or several streams."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.errors import DataError
from worker.stages.features import StreamFeatures, open_features, write_features

LENGTHS = (3, 1, 4)


@pytest.fixture
def clips(features: Any) -> Any:
    return features[0].clips[:3]


def written(folder: Path, clips: Any, *shape: int, lengths: tuple[int, ...] = LENGTHS) -> np.ndarray:
    folder.mkdir()
    values = np.random.default_rng(len(shape)).standard_normal((sum(lengths), *shape)).astype(np.float32)
    write_features(folder, clips, lengths, np.split(values, [2, 5]))
    return values


def test_steps_of_clips_are_read_by_number(tmp_path: Path, clips: Any) -> None:
    values = written(tmp_path / "rgb", clips, 2, 3, 3)
    stored = open_features(tmp_path / "rgb", [clips[2], clips[0]])
    assert stored.lengths.tolist() == [4, 3]
    assert stored.shape == (2, 3, 3)
    assert stored.num_bytes == 7 * 18 * 4
    found = stored.take(np.array([1, 0, 1]), np.array([[0, 2], [3, 3], [1, 1]]))
    np.testing.assert_array_equal(found, values[[[0, 2], [7, 7], [1, 1]]])


def test_streams_side_by_side_and_apart(tmp_path: Path, clips: Any) -> None:
    rgb, flow = written(tmp_path / "rgb", clips, 5), written(tmp_path / "flow", clips, 2)
    opened = {name: open_features(tmp_path / name, clips) for name in ("rgb", "flow")}
    together, apart = StreamFeatures(opened, apart=False), StreamFeatures(opened, apart=True)
    assert (together.shape, apart.shape) == ((7,), {"rgb": (5,), "flow": (2,)})
    whole = np.concatenate([rgb, flow], 1)
    np.testing.assert_array_equal(together.take(np.array([2])), whole[None, 4:])
    found = apart.take(np.array([0]), np.array([[2, 0]]))
    assert isinstance(found, dict)
    torch.testing.assert_close(found["flow"], torch.from_numpy(flow[None, [2, 0]]))


@pytest.mark.parametrize(
    ("flow", "lengths", "message"),
    [
        ((2,), (2, 2, 4), "other numbers of steps than those of rgb"),
        ((2, 3, 3), LENGTHS, r"shape \(2, 3, 3\), allowed"),
    ],
)
def test_streams_that_do_not_fit_together_are_refused(
    tmp_path: Path, clips: Any, flow: tuple[int, ...], lengths: tuple[int, ...], message: str
) -> None:
    written(tmp_path / "rgb", clips, 5)
    written(tmp_path / "flow", clips, *flow, lengths=lengths)
    opened = {name: open_features(tmp_path / name, clips) for name in ("rgb", "flow")}
    with pytest.raises(DataError, match=f"features of flow: {message}"):
        StreamFeatures(opened, apart=False)
