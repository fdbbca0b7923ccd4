import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.worker.conftest import pixels
from worker.video.flow import quantize
from worker.video.flow.quantization import to_levels


def test_quantisation_is_linear_and_clips() -> None:
    flow = np.array([-99, -20, -10, 0, 10, 20, 99], np.float32)
    values = quantize(flow, 20.0)
    assert values.dtype == np.uint8
    assert values.tolist() == [0, 0, 64, 128, 191, 255, 255]


@given(
    flow=arrays.arrays(np.float32, (2, 3, 4), elements=st.floats(-128, 128, width=32)),
    bound=st.floats(0.5, 128),
)
def test_quantised_flow_reads_back(flow: np.ndarray, bound: float) -> None:
    back = pixels(quantize(flow, bound), bound)
    assert np.abs(back - np.clip(flow, -bound, bound)).max() <= bound / 255 * 1.01
    np.testing.assert_array_equal(quantize(back, bound), quantize(flow, bound))


def test_a_field_scaled_by_its_own_range() -> None:
    flow = np.zeros((2, 2, 2, 3), np.float32)
    flow[0, 0] = [[-3, 0, 1], [2, 3, 3]]
    values = quantize(flow, 20.0, "frame_min_max")
    assert values[0, 0].tolist() == [[0, 128, 170], [212, 255, 255]]
    assert not values[0, 1].any()
    assert not values[1].any()


@given(
    flow=arrays.arrays(np.float32, (2, 2, 3, 4), elements=st.floats(-64, 64, width=32)),
    bound=st.floats(0.5, 64),
    method=st.sampled_from(["linear", "frame_min_max"]),
)
def test_tensors_become_the_same_bytes(flow: np.ndarray, bound: float, method: str) -> None:
    levels = to_levels(torch.from_numpy(flow), bound, method, torch)
    assert levels.dtype == torch.float32
    np.testing.assert_array_equal(levels.to(torch.uint8).numpy(), quantize(flow, bound, method))
