"""Every kind of network, walked through the registry."""

import typing

import pytest
import torch

import models
from services.specs import ModelSpec

SPECS = {spec.model_fields["kind"].default: spec for spec in typing.get_args(typing.get_args(ModelSpec)[0])}


def build(kind: str, **options: object) -> torch.nn.Module:
    return models.build(kind, num_classes=7, feature_dim=12, **options).eval()


def test_every_kind_of_a_spec_has_a_network_and_the_reverse() -> None:
    assert set(SPECS) == set(models.KINDS)


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_spec_of_defaults_builds_the_network_of_defaults(kind: str) -> None:
    from_spec = build(kind, **SPECS[kind]().model_dump(exclude={"kind"}))
    assert [p.shape for p in from_spec.parameters()] == [p.shape for p in build(kind).parameters()]


@pytest.mark.parametrize("kind", models.KINDS)
@pytest.mark.parametrize("steps", [3, 25])
def test_logits_have_a_row_for_each_video(kind: str, steps: int) -> None:
    output = build(kind)(torch.randn(2, steps, 12))
    assert output.logits.shape == (2, 7)


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_padded_clip_gets_the_answer_that_it_gets_alone(kind: str) -> None:
    network = build(kind)
    features = torch.randn(3, 11, 12)
    lengths = (11, 4, 7)
    mask = torch.arange(11) < torch.tensor(lengths)[:, None]
    together = network(features, mask).logits
    for row, length in enumerate(lengths):
        alone = network(features[row : row + 1, :length]).logits[0]
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize("kind", models.KINDS)
def test_mixed_precision_trains(kind: str) -> None:
    network = build(kind).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(4, 6, 12)).logits
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_mask_that_is_no_prefix_is_refused(kind: str) -> None:
    mask = torch.ones(1, 6, dtype=torch.bool)
    mask[0, 2] = False
    with pytest.raises(ValueError, match="valid steps first"):
        build(kind)(torch.randn(1, 6, 12), mask)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="got 'tslstm', allowed: max_pooling, mean_pooling, ts_lstm"):
        build("tslstm")
