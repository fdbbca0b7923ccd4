"""TSN: the mean of its snippets, with partial batch norm."""

from __future__ import annotations

import torch

from models.backbones import build as build_backbone
from models.tsn import TSN


def test_tsn_is_the_mean_of_its_snippets() -> None:
    network = TSN(num_classes=4, backbone=build_backbone("tiny")).eval()
    clips = torch.rand(2, 5, 3, 64, 64)
    torch.testing.assert_close(network(clips).logits, network.convnet(clips).logits.mean(1))


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    network = TSN(num_classes=4, backbone=build_backbone("tiny"), dropout=0.0).train()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.rand(2, 3, 3, 64, 64)).logits.sum().backward()
    moved = [not torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)]
    assert moved == [True] + [False] * (len(norms) - 1)
    assert [norm.weight.grad is not None for norm in norms] == moved
    free = TSN(num_classes=4, backbone=build_backbone("tiny"), partial_batch_norm=False).train()
    free(torch.rand(2, 3, 3, 64, 64))
    assert all(m.training for m in free.modules())
