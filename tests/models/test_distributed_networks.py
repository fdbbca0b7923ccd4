"""Recurrences whose weight gradients come late train under DistributedDataParallel, which waits for every gradient."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import models

SHAPES = {"alstm": (6, 4, 3), "conv_lstm": (6, 4, 3), "conv_alstm": (6, 4, 3), "video_lstm": None, "motion_alstm": None}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store: Path = tmp_path_factory.mktemp("store") / "file"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="gloo as the worker uses it")
@pytest.mark.parametrize("kind", SHAPES)
def test_two_steps_give_every_weight_the_gradient_of_one_process(kind: str, alone: None) -> None:
    torch.manual_seed(0)
    flow = {"video_lstm": (6, 4, 3), "motion_alstm": (5,)}.get(kind, ())
    shape = SHAPES[kind] or {"rgb": (6, 4, 3), "flow": flow}
    network = models.build(kind, num_classes=3, feature_shape=shape, hidden=8, fc_dim=8).eval()
    features = (
        {name: torch.randn(2, 3, *size) for name, size in shape.items()}
        if isinstance(shape, dict)
        else torch.randn(2, 3, *shape)
    )
    network(features).logits.square().sum().backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    parallel = DistributedDataParallel(network)
    for _ in range(2):
        network.zero_grad()
        parallel(features).logits.square().sum().backward()
        for parameter, gradient in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
