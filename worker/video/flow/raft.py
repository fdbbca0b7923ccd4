"""RAFT (Teed and Deng 2020): torchvision's networks, with torchvision's weights or those of a local file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from services.errors import UserError
from services.specs import RaftVariant
from worker.weights import library_weights, read_state_dict

MULTIPLE, SMALLEST_SIDE = 8, 128  # of both sides: the encoder divides by 8, the four correlation levels by 8 more


class Raft:
    """Computes flow by RAFT.

    Args:
        variant: ``large`` or ``small``.
        weights: ``default`` loads torchvision's (from its cache, or by network), anything else is the path of a state
            dict.
        device: where it runs.

    Raises:
        UserError: the weights cannot be read or fetched, or are another network's.
    """

    def __init__(self, variant: RaftVariant, weights: str, device: torch.device) -> None:
        self._network = _load(variant, weights).to(device).eval()

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Return float32 (N, 2, H, W), pixels per frame, x then y.

        Args:
            first: rgb frames (N, 3, H, W), uint8.
            second: the frames that follow them.
        """
        height, width = first.shape[-2:]
        margins = [max(SMALLEST_SIDE, -(-side // MULTIPLE) * MULTIPLE) - side for side in (width, height)]
        pad = (margins[0] // 2, margins[0] - margins[0] // 2, margins[1] // 2, margins[1] - margins[1] // 2)
        frames = [functional.pad(batch.float() / 127.5 - 1.0, pad, mode="replicate") for batch in (first, second)]
        flow: Tensor = self._network(*frames)[-1]
        return flow[..., pad[2] : pad[2] + height, pad[0] : pad[0] + width].contiguous()


def _load(variant: RaftVariant, weights: str) -> nn.Module:
    build, default = (raft_large, Raft_Large_Weights) if variant == "large" else (raft_small, Raft_Small_Weights)
    network: nn.Module = build(weights=None, progress=False)
    if weights == "default":
        with library_weights("flow.weights", f"weights of raft {variant}"):
            state = default.DEFAULT.get_state_dict(progress=False, check_hash=True)
    else:
        state = read_state_dict(Path(weights), "flow.weights")
    own = network.state_dict()
    if state.keys() != own.keys() or any(state[name].shape != value.shape for name, value in own.items()):
        raise UserError(f"flow.weights: {weights} are weights of another network, expected those of raft {variant}")
    network.load_state_dict(state)
    return network
