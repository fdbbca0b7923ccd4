from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from services.errors import UserError
from services.params import FlowMethodParams
from worker.video.flow import batched

CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.save(raft_small(weights=None, progress=False).state_dict(), tmp_path / "raft.pt")
    return tmp_path / "raft.pt"


def params(weights: Path, variant: str = "small") -> FlowMethodParams:
    return FlowMethodParams(algorithm="raft", bound=20.0, raft=variant, weights=str(weights))


def test_fields_have_the_size_of_the_frames(weights: Path) -> None:
    method = batched.build(params(weights), CPU)
    assert method.colour == "rgb"
    frames = np.random.default_rng(0).integers(0, 256, (3, 50, 141, 3), np.uint8)
    fields = method.fields(frames)
    assert fields.shape == (2, 2, 50, 141)
    np.testing.assert_array_equal(batched.build(params(weights), CPU).fields(frames), fields)


def test_weights_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"raft\.pt are weights of another network, expected those of raft large"):
        batched.build(params(weights, "large"), CPU)
    (tmp_path / "x.pt").write_bytes(b"no weights")
    for file in ("x.pt", "absent.pt"):
        with pytest.raises(UserError, match=rf"flow\.weights: .*{file} is .*expected a state dict"):
            batched.build(params(tmp_path / file), CPU)
