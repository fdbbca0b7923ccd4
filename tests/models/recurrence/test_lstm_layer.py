"""PyTorch's LSTM, also where its kernels have no rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.recurrence.lstm_layer import hidden_states

LAYER = nn.LSTM(3, 4, batch_first=True)


def test_states_are_pytorchs() -> None:
    x = torch.randn(2, 5, 3)
    assert torch.equal(hidden_states(LAYER, x), LAYER(x)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script")  # PyTorch's own forward mode is made with it
def test_mapped_over_videos_and_forward_differentiated_they_are_the_same() -> None:
    x = torch.randn(2, 5, 3)
    one_by_one = torch.func.vmap(lambda video: hidden_states(LAYER, video[None])[0])
    torch.testing.assert_close(one_by_one(x), LAYER(x)[0])

    def last(video: Tensor) -> Tensor:
        return hidden_states(LAYER, video)[:, -1].sum()

    torch.testing.assert_close(torch.func.jacfwd(last)(x), torch.func.jacrev(last)(x))


def test_on_a_processor_states_are_in_single_precision_under_autocast() -> None:
    x = torch.randn(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = hidden_states(LAYER, x.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, LAYER(x.bfloat16().float())[0])
