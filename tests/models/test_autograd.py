"""Every kind of network under every way of asking autograd: no call leaves anything behind for the next.

Right gradients are those of one backward pass through a graph of its own, which the tests of each network compare with
a reference.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.models.cases import Case, equal, every_kind, every_smooth_kind


@every_kind
def test_a_gradient_asked_for_before_the_backward_pass_changes_nothing(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right = case.right()
    for asked in ("features", "weights", "all"):
        wanted = {
            name: leaf
            for name, leaf in case.leaves.items()
            if asked == "all" or name.startswith("features") == (asked == "features")
        }
        loss = case.loss()
        found = torch.autograd.grad(loss, list(wanted.values()), retain_graph=True)
        equal(dict(zip(wanted, found, strict=True)), {name: right[name] for name in wanted})
        loss.backward()
        equal(case.taken(), right)
        case.forget()


@every_kind
def test_each_weight_asked_for_by_itself_has_the_same_gradient(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right, loss = case.right(), case.loss()
    for name, leaf in case.leaves.items():
        (found,) = torch.autograd.grad(loss, [leaf], retain_graph=True)
        equal({name: found}, {name: right[name]})


@every_kind
def test_backward_passes_through_a_retained_graph_add_up(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right, loss = case.right(), case.loss()
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        equal(case.taken(), {name: times * value for name, value in right.items()})


@every_kind
def test_what_a_failed_backward_pass_had_done_is_forgotten(kind: str, options: dict[str, Any]) -> None:
    """As when memory runs out in it, and the batch is tried anew."""
    case = Case(kind, options)
    right, loss = case.right(), case.loss()

    def fail(_: Tensor) -> None:
        raise RuntimeError("out of memory")

    for leaf in case.leaves.values():
        hook = leaf.register_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            loss.backward(retain_graph=True)
        hook.remove()
        case.forget()
        loss.backward(retain_graph=True)
        equal(case.taken(), right)
        case.forget()


@every_kind
def test_parts_of_the_output_have_the_gradients_that_add_up_to_the_whole(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right, logits = case.right(lambda: case.logits().square().sum()), case.logits()
    for part in logits.flatten(1, -2).unbind(1) if logits.ndim == 3 else logits.unbind(0):
        part.square().sum().backward(retain_graph=True)
    equal(case.taken(), right)


@every_kind
def test_frozen_weights_leave_the_gradients_of_the_others(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right = case.right()
    names = list(dict(case.network.named_parameters()))
    for frozen in (names[::2], names[1::2], names):
        for name, parameter in case.network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        case.loss().backward()
        equal(case.taken(), {name: value for name, value in right.items() if name not in frozen})
        case.forget()


@every_kind
def test_weights_learn_from_features_that_ask_for_no_gradient(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right = case.right()
    for value in case.features.values():
        value.requires_grad_(False)
    case.loss({name: value.detach() for name, value in case.features.items()}).backward()
    equal(case.taken(), {name: value for name, value in right.items() if not name.startswith("features")})


@every_kind
def test_a_network_may_be_used_twice_in_one_graph(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)

    def backwards() -> Tensor:
        return case.loss({name: value.flip(1) for name, value in case.features.items()})

    first, second = case.right(), case.right(backwards)
    (case.loss() + backwards()).backward()
    equal(case.taken(), {name: first[name] + second[name] for name in first})


@every_kind
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(kind: str, options: dict[str, Any], reentrant: bool) -> None:
    case = Case(kind, options)
    right = case.right()
    names = list(case.features)

    def run(*values: Tensor) -> Tensor:
        return case.logits(dict(zip(names, values, strict=True)))

    checkpoint(run, *case.features.values(), use_reentrant=reentrant).square().sum().backward()
    equal(case.taken(), right)


@every_smooth_kind
def test_gradients_equal_differences(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    names, values = list(case.features), list(case.features.values())
    for parameter in case.network.parameters():
        parameter.requires_grad_(False)
    for value in values:
        value.requires_grad_()

    def run(*given: Tensor) -> Tensor:
        return case.logits(dict(zip(names, given, strict=True)))

    assert torch.autograd.gradcheck(run, values, fast_mode=True)


@every_kind
def test_saved_tensors_may_be_kept_elsewhere(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    right = case.right()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda kept: kept.clone()):
        loss = case.loss()
    loss.backward()
    equal(case.taken(), right)


@every_kind
def test_a_graph_that_was_not_retained_refuses_a_second_backward_pass(kind: str, options: dict[str, Any]) -> None:
    loss = Case(kind, options).loss()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


@every_kind
def test_many_gradients_at_once_equal_one_after_another(kind: str, options: dict[str, Any]) -> None:
    case = Case(kind, options)
    leaves, logits = case.leaves, case.logits()
    directions = torch.randn(3, *logits.shape, dtype=logits.dtype)
    together = torch.autograd.grad(logits, list(leaves.values()), directions, is_grads_batched=True, retain_graph=True)
    for number, direction in enumerate(directions):
        alone = torch.autograd.grad(logits, list(leaves.values()), direction, retain_graph=True)
        equal({n: v[number] for n, v in zip(leaves, together, strict=True)}, dict(zip(leaves, alone, strict=True)))
