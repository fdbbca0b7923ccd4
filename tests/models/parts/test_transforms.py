"""Every kind under second derivatives, ``torch.func`` and forward-mode differentiation: right, or refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, func, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.models.cases import Case, Named, equal, every_kind, every_smooth_kind

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # vmap, of operations without a rule of their own
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),  # PyTorch's own forward mode is made with it
]


def with_weights(case: Case, weights: Named, features: Named) -> Tensor:
    logits: Tensor = func.functional_call(case.network, weights, (features.get("", features),)).logits
    return logits


def detached(case: Case) -> tuple[Named, Named]:
    weights = {name: parameter.detach() for name, parameter in case.network.named_parameters()}
    return weights, {name: value.detach() for name, value in case.features.items()}


@every_smooth_kind
def test_second_derivatives_equal_differences(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    weights, features = detached(case)
    together = weights | {f"features {name}": value for name, value in features.items()}
    flat = torch.cat([value.flatten() for value in together.values()]).requires_grad_()

    def run(given: Tensor) -> Tensor:
        parts = given.split([value.numel() for value in together.values()])
        named = {name: part.view(together[name].shape) for name, part in zip(together, parts, strict=True)}
        return with_weights(case, {n: named[n] for n in weights}, {n: named[f"features {n}"] for n in features})

    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(run, flat, fast_mode=True)


def test_a_second_derivative_through_fused_attention_is_refused_with_a_hint() -> None:
    case = Case("relational_lstm", {})
    for name in ("relational.inputs.weight", "relational.state.bias", "features "):
        leaf, right = case.leaves[name], case.right()[name]
        (first,) = torch.autograd.grad(case.loss(), [leaf], create_graph=True)
        equal({name: first}, {name: right})
        with pytest.raises(RuntimeError, match=r"relational_lstm: second derivatives .* hint: .*SDPBackend.MATH"):
            torch.autograd.grad(first.square().sum(), [leaf])


@every_kind
def test_functional_gradients_equal_those_of_autograd(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    weights, features = detached(case)
    found = func.grad(lambda w, f: with_weights(case, w, f).square().sum(), argnums=(0, 1))(weights, features)
    right = case.right()
    equal(found[0] | {f"features {name}": value for name, value in found[1].items()}, right)


@every_kind
def test_videos_may_be_mapped_over(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    weights, features = detached(case)

    def one(given: Named) -> Tensor:
        return with_weights(case, weights, {name: value[None] for name, value in given.items()})[0]

    torch.testing.assert_close(func.vmap(one)(features), with_weights(case, weights, features), rtol=1e-9, atol=1e-12)


@every_kind
def test_gradients_of_each_video_add_up_to_those_of_all(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    weights, features = detached(case)

    def one(given: Named, w: Named) -> Tensor:
        return with_weights(case, w, {name: value[None] for name, value in given.items()}).square().sum()

    found = func.vmap(func.grad(one, argnums=1), in_dims=(0, None))(features, weights)
    right = case.right()
    equal({name: value.sum(0) for name, value in found.items()}, {name: right[name] for name in weights})


@every_kind
def test_networks_may_be_mapped_over(kind: str, options: dict[str, Any]) -> None:
    cases = [Case(kind, options), Case(kind, options)]
    for parameter in cases[1].network.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    weights = {name: torch.stack([detached(case)[0][name] for case in cases]) for name in detached(cases[0])[0]}
    features = detached(cases[0])[1]
    found = func.vmap(lambda w: with_weights(cases[0], w, features))(weights)
    torch.testing.assert_close(found, torch.stack([case.logits(features) for case in cases]), rtol=1e-9, atol=1e-12)


@every_smooth_kind
def test_forward_mode_equals_reverse_mode(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    weights, features = detached(case)
    tangents = {name: torch.randn_like(value) for name, value in features.items()}
    logits, along = func.jvp(lambda f: with_weights(case, weights, f), (features,), (tangents,))
    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(value, tangents[name]) for name, value in features.items()}
        torch.testing.assert_close(forward_ad.unpack_dual(case.logits(dual)).tangent, along, rtol=1e-9, atol=1e-12)
    direction = torch.randn_like(logits)
    right = case.right(lambda: torch.sum(case.logits() * direction))
    expected = sum((right[f"features {name}"] * value).sum() for name, value in tangents.items())
    torch.testing.assert_close((along * direction).sum(), expected, rtol=1e-9, atol=1e-12)


@every_kind
def test_single_precision_maps_and_differentiates_too(kind: str, options: dict[str, Any]) -> None:
    """There PyTorch takes other kernels of LSTM and attention, which know fewer transforms."""
    case = Case(kind, options)
    case.network.float()
    weights, features = detached(case)
    features = {name: value.float() for name, value in features.items()}
    tangents = {name: torch.ones_like(value) for name, value in features.items()}
    logits, _ = func.jvp(lambda f: with_weights(case, weights, f), (features,), (tangents,))
    mapped = func.vmap(lambda f: with_weights(case, weights, {n: v[None] for n, v in f.items()})[0])(features)
    expected = with_weights(case, weights, features)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mapped, expected, rtol=1e-4, atol=1e-4)
