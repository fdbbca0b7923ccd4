import numpy as np
import pytest

from worker.video.flow import estimator, optical_flow


def textured(shift: tuple[float, float]) -> np.ndarray:
    """Return uint8 (64, 64), a soft texture moved by (x, y) pixels."""
    down, across = np.mgrid[0:64, 0:64].astype(np.float64)
    across, down = across - shift[0], down - shift[1]
    waves = np.sin(across / 2.5) + np.sin(down / 3.1) + np.sin((across + down) / 4.3)
    return np.rint(127 + 40 * waves).astype(np.uint8)


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback", "dis"])
@pytest.mark.parametrize("motion", [(2.0, 0.0), (-1.0, 1.5)])
def test_translation_is_found(algorithm: str, motion: tuple[float, float]) -> None:
    field = estimator(algorithm)(textured((0, 0)), textured(motion))
    assert field.shape == (2, 64, 64)
    assert field.dtype == np.float32
    middle = field[:, 16:48, 16:48]
    error = np.hypot(middle[0] - motion[0], middle[1] - motion[1]).mean()
    assert error < 0.2


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback", "dis"])
def test_fields_of_a_clip_are_those_of_its_pairs(algorithm: str) -> None:
    frames = [textured((x, 0)) for x in (0, 1, 3, 3)]
    fields = list(optical_flow(iter(frames), algorithm))
    assert len(fields) == 3
    for first, second, field in zip(frames, frames[1:], fields, strict=False):
        np.testing.assert_allclose(field, estimator(algorithm)(first, second), atol=1e-5)
    assert np.abs(fields[2]).mean() < 0.05


def test_one_frame_has_no_flow() -> None:
    assert list(optical_flow([textured((0, 0))], "farneback")) == []


def test_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="flow algorithm: got 'brox'"):
        estimator("brox")


@pytest.mark.parametrize("size", [(15, 200), (9, 40), (200, 15), (8, 8)])  # the first two crash inside OpenCV
def test_frames_too_small_for_dis_are_refused(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    with pytest.raises(ValueError, match=f"frames: got {size[1]}x{size[0]}, allowed for dis: 16x16 or more"):
        estimator("dis")(frame, frame)


@pytest.mark.parametrize("size", [(16, 16), (16, 700), (700, 16)])
def test_small_frames_have_flow_by_dis(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, *size)).astype(np.uint8)
    assert np.isfinite(estimator("dis")(*frames)).all()
