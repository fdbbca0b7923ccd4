"""Pooling heads see no order, and count what TS-LSTM counts."""

import pytest
import torch

import models


@pytest.mark.parametrize("kind", ["mean_pooling", "max_pooling"])
def test_order_of_frames_does_not_matter(kind: str) -> None:
    network = models.build(kind, num_classes=5, feature_shape=(6,)).eval()
    features = torch.randn(2, 9, 6)
    torch.testing.assert_close(network(features).logits, network(features[:, torch.randperm(9)]).logits)


def test_parameters_are_those_of_max_fc_with_one_segment() -> None:
    network = models.build("max_pooling", num_classes=101, feature_shape=(4096,))
    assert (
        sum(p.numel() for p in network.parameters()) == 430_181
    )  # 2 x 4096 + 4096 x 101 + 101, and a second batch norm


def test_without_batch_norm_a_linear_layer_of_the_mean_is_left() -> None:
    network = models.build("mean_pooling", num_classes=5, feature_shape=(6,), batch_norm=False)
    features = torch.randn(2, 9, 6)
    torch.testing.assert_close(network(features).logits, network.classifier(features.mean(1)))


def test_dropout_acts_in_training_only() -> None:
    network = models.build("mean_pooling", num_classes=5, feature_shape=(64,), dropout=0.5, batch_norm=False)
    features = torch.randn(2, 3, 64)
    assert not torch.equal(network(features).logits, network(features).logits)
    network.eval()
    assert torch.equal(network(features).logits, network(features).logits)
