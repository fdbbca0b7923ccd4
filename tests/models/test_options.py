"""Options of every kind of network: a spec and its network have the same ones, defaults and limits among them."""

import inspect
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import models
from models.convnet import ConvNet
from models.memory import MemoryNetwork
from models.tsn import TSN
from tests.models.cases import SPECS

SHAPES = {"vector": (12,), "map": (6, 4, 3)}


def words(form: Any) -> set[str]:
    """The texts that a type allows, of all its parts."""
    return {form} if isinstance(form, str) else {word for part in get_args(form) for word in words(part)}


WORDS = {
    word
    for kind, info in models.KINDS.items()
    for name, option in info.options.items()
    if name != "backbone"
    for word in words(option.annotation) | words(SPECS[kind].model_fields[name].annotation)
}
PROBES = [
    *(0, -1, 1, 2, 1.5, 1.0, 0.999, -0.1, float("nan"), float("inf")),
    *(True, None, "nothing", *sorted(WORDS)),
    *((), (0,), (1,), (2,), (3, 3), (1.5,), ((3, 3),), ((),), ((0,),)),
]
OF_THE_SERVICE = {"kind", "classifier", "weights"}
"""Options of a spec that say where weights come from, not what the network is."""
every_kind = pytest.mark.parametrize("kind", models.KINDS)


def build(kind: str, **options: Any) -> nn.Module:
    info = models.KINDS[kind]
    shape: Any = {name: SHAPES[form] for name, form in info.streams.items()} or SHAPES[info.inputs]
    with torch.device("meta"):
        return models.build(kind, num_classes=7, feature_shape=shape, **options)


@every_kind
def test_a_network_has_the_options_of_its_spec_with_the_defaults_of_its_spec(kind: str) -> None:
    own = {name: option.default for name, option in models.KINDS[kind].options.items() if name != "backbone"}
    of_the_spec = {
        name: field.default for name, field in SPECS[kind].model_fields.items() if name not in OF_THE_SERVICE
    }
    assert {name: repr(value) for name, value in own.items()} == {n: repr(v) for n, v in of_the_spec.items()}


@every_kind
def test_what_a_spec_takes_its_network_takes_and_nothing_else(kind: str) -> None:
    """But for upper limits, which are the service's."""
    accepted = refused = 0
    for name in models.KINDS[kind].options.keys() - {"backbone"}:
        for value in PROBES:
            try:
                spec = SPECS[kind](**{name: value})
            except ValidationError:
                with pytest.raises(ValueError, match=r"got .*, allowed: "):
                    build(kind, **{name: value})
                refused += 1
            else:
                build(kind, **spec.options)
                accepted += 1
    assert accepted
    assert refused


@pytest.mark.parametrize("kind", [kind for kind, info in models.KINDS.items() if "hidden" in info.options])
def test_width_of_the_state_is_a_number_or_a_list_in_every_network(kind: str) -> None:
    number, listed = build(kind, hidden=5), build(kind, hidden=(5,))
    assert shapes(number) == shapes(listed) != shapes(build(kind, hidden=6))
    read = SPECS[kind].model_validate_json
    assert read('{"hidden": 5}', strict=True) == read('{"hidden": [5]}', strict=True) == SPECS[kind](hidden=(5,))
    layers = kind in {"lstm", "ts_lstm"}
    assert SPECS[kind](hidden=5).model_dump(mode="json")["hidden"] == ([5] if layers else 5)  # the stage's key has it
    if not layers:
        with pytest.raises(ValueError, match=r"hidden: got \(5, 6\), allowed: one width"):
            build(kind, hidden=(5, 6))


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


@every_kind
def test_an_unknown_option_names_the_known_ones(kind: str) -> None:
    known = ", ".join(models.KINDS[kind].options)
    with pytest.raises(TypeError) as caught:
        build(kind, speed=3)
    assert str(caught.value) == f"option of {kind}: got 'speed', allowed: {known}"


@pytest.mark.parametrize("value", [0, -3, 2.5, True, None, "101"])
def test_a_number_of_classes_below_one_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"num_classes: got .*, allowed: a whole number from 1"):
        models.build("lstm", num_classes=value, feature_shape=(12,))


@pytest.mark.parametrize("kind", ["tslstm", "", None, ["lstm"]])
def test_an_unknown_kind_names_the_known_ones(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"kind: got .*, allowed: alstm, conv_alstm, .*, video_lstm"):
        models.build(kind, num_classes=7, feature_shape=(12,))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("lstm", {"feature_shape": (6, 4, 3)}, r"got \(6, 4, 3\), allowed: \(D,\) of a vector, without N and T"),
        ("lstm", {}, r"feature_shape: got None, allowed: \(D,\)"),
        ("lstm", {"feature_shape": (-1,)}, "feature_shape: got -1, allowed: a whole number from 1"),
        ("lstm", {"feature_shape": "D"}, "feature_shape: got D, allowed"),
        ("conv_lstm", {}, r"feature_shape: got None, allowed: \(C, H, W\) of a map"),
        ("conv_lstm", {"feature_shape": (6, 0, 3)}, "feature_shape: got 0, allowed: a whole number from 1"),
        ("conv_lstm", {"feature_shape": {"rgb": (6, 4, 3)}}, r"allowed: \(C, H, W\) of a map"),
        ("video_lstm", {}, r"feature_shape: got None, allowed: a shape for each of \['flow', 'rgb'\]"),
        ("video_lstm", {"feature_shape": (6, 4, 3)}, r"allowed: a shape for each of \['flow', 'rgb'\]"),
        ("video_lstm", {"feature_shape": {"rgb": (6, 4, 3)}}, r"allowed: a shape for each of \['flow', 'rgb'\]"),
        (
            "motion_alstm",
            {"feature_shape": {"rgb": (6, 4, 3), "flow": (6, 4, 3)}},
            r"feature_shape of flow: got \(6, 4, 3\), allowed: \(D,\) of a vector",
        ),
    ],
)
def test_features_of_another_form_are_refused(kind: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(kind, num_classes=7, **given)


@pytest.mark.parametrize("network", [ConvNet, TSN, MemoryNetwork])
def test_the_width_of_features_is_given_or_the_backbones(network: Any) -> None:
    with torch.device("meta"):
        backbone = models.backbones.build("tiny")
        assert shapes(network(num_classes=7, backbone=backbone)) == shapes(
            network(num_classes=7, feature_dim=64, backbone=backbone)
        )
        with pytest.raises(ValueError, match="feature_dim: got None, allowed: a whole number from 1, or None with a"):
            network(num_classes=7)
        with pytest.raises(ValueError, match="feature_dim: got 12, allowed: 64, that of the backbone"):
            network(num_classes=7, feature_dim=12, backbone=backbone)


def test_networks_take_keywords_alone() -> None:
    for kind in models.KINDS.values():
        parameters = inspect.signature(kind.network).parameters.values()
        assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
