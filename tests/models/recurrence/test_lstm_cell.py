"""One step of an LSTM without peepholes, against its equations (VideoLSTM, eqs. 1 to 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.recurrence.lstm_cell import lstm_cell


def state(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    gates, cell = torch.randn(3, 8, dtype=dtype), torch.randn(3, 2, dtype=dtype)
    return gates.requires_grad_(), cell.requires_grad_()


def test_a_step_is_that_of_the_equations() -> None:
    gates, cell = state()
    i, f, o, g = gates.chunk(4, -1)
    expected = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden, new = lstm_cell(gates, cell)
    torch.testing.assert_close(new, expected)
    torch.testing.assert_close(hidden, o.sigmoid() * expected.tanh())


def test_first_and_second_derivatives_equal_differences() -> None:
    assert torch.autograd.gradcheck(lstm_cell, state())
    assert torch.autograd.gradgradcheck(lstm_cell, state())


def test_the_state_keeps_the_type_of_the_cell() -> None:
    gates, cell = state(torch.float32)
    hidden, new = lstm_cell(gates.bfloat16(), cell)
    assert (hidden.dtype, new.dtype) == (torch.float32, torch.float32)
