"""Bytes are resized as floats are, in as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.video.decoding.threads import side_by_side
from worker.video.input import resize


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def interpolated(clip: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(clip.float(), (height, width), mode="bilinear", antialias=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 20])
@pytest.mark.parametrize("size", [(28, 28), (40, 90)])
def test_resizing_bytes_is_resizing_and_rounding(channels: int, size: tuple[int, int]) -> None:
    clip = noise(2, channels, 60, 80)
    for part in (clip, clip[:, :, 5:50, 7:60], clip.contiguous(memory_format=torch.channels_last)):
        small = resize.resize_bytes(part, *size)
        assert small.dtype == torch.uint8
        assert (small.float() - interpolated(part, *size).round()).abs().max() <= 1
    assert resize.resize_bytes(clip, 60, 80) is clip


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_threads_resize_to_the_same_bytes(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = noise(7, channels, 480, 640)  # enough bytes for each of three
    torch.set_num_threads(1)
    alone = resize.resize_bytes(clip, 28, 30)
    taken = []

    def watched(pieces: Sequence[Callable[[], object]]) -> None:
        taken.append(len(pieces))
        side_by_side(pieces)

    monkeypatch.setattr(resize, "side_by_side", watched)
    torch.set_num_threads(3)
    shared = resize.resize_bytes(clip, 28, 30)
    assert torch.equal(shared, alone)
    assert shared.stride() == alone.stride()
    with torch.inference_mode():  # which each thread has for itself; features are computed in it
        assert torch.equal(resize.resize_bytes(clip, 28, 30), alone)
    torch.set_num_threads(1)
    assert taken == [3, 3]


def test_resizing_keeps_a_flat_frame_flat() -> None:
    resized = resize.resize_bytes(torch.full((1, 3, 50, 70), 77, dtype=torch.uint8), 20, 30)
    torch.testing.assert_close(resized, torch.full((1, 3, 20, 30), 77, dtype=torch.uint8))
