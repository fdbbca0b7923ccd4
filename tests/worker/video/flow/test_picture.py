import numpy as np

from worker.video.flow.picture import colour_wheel


def test_directions_have_their_hues() -> None:
    flow = np.zeros((2, 1, 4), np.float32)
    flow[:, 0] = [[0, 5, -50, 0], [0, 0, 0, 5]]  # still, right, fast left, down
    still, right, left, down = colour_wheel(flow, 5.0)[0].tolist()
    assert (still, right, left) == ([255, 255, 255], [255, 0, 0], [0, 255, 255])
    assert down == [127, 255, 0]
