"""Temporal-ConvNet against plain loops over TS-LSTM, section 3.3; shapes, counts, every row of Tables 4, 8 to 10."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from models.temporal_convnet import TemporalConvNet
from tests.models.counts import Count
from tests.models.reference.agree import agree, randomise
from tests.models.reference.temporal_convnet import Layout
from tests.models.reference.temporal_convnet import TemporalConvNet as Reference

INCEPTION = Layout("inception", ((5,), (7,)), (2, 2, 2, 3), (4, 2, 1))
VGG = replace(INCEPTION, architecture="vgg", kernels=((5,),))
SMALL = {"num_classes": 3, "feature_dim": 4, "fc_dim": 5}

CASES: list[tuple[dict[str, Any], Layout]] = [
    ({}, INCEPTION),
    ({"fc_dim": None}, INCEPTION),
    ({"batch_norm": False}, replace(INCEPTION, batch_norm=False)),
    ({"downsample": "stride"}, replace(INCEPTION, strided=True)),
    ({"reduction": "mean"}, replace(INCEPTION, reduction="mean")),
    ({"reduction": "max", "reduce_each": True}, replace(INCEPTION, reduction="max", reduce_each=True)),
    ({"reduction": (1,), "reduce_each": True}, replace(INCEPTION, reduction=(1,), reduce_each=True)),
    ({"kernels": ((3, 3), (3, 3, 3))}, replace(INCEPTION, kernels=((3, 3), (3, 3, 3)))),
    ({"pools": (2,), "reduction": (1,)}, replace(INCEPTION, pools=(2,), reduction=(1,))),
    ({"pools": (2, 2), "reduction": (2, 1)}, replace(INCEPTION, pools=(2, 2), reduction=(2, 1))),
    ({"architecture": "vgg", "kernels": (5,)}, VGG),
    ({"architecture": "vgg", "kernels": (5,), "pools": (2,)}, replace(VGG, pools=(2,))),
    ({"architecture": "vgg"}, replace(VGG, kernels=((5,), (7,)))),
]


def alive(network: torch.nn.Module) -> torch.nn.Module:
    """Draw weights that are mostly positive, the same each time, so that ReLUs let something through."""
    torch.manual_seed(0)
    return randomise(network, low=-0.1, high=1.0)


@pytest.mark.parametrize(("options", "layout"), CASES)
def test_outputs_and_gradients_equal_the_reference(options: dict[str, Any], layout: Layout) -> None:
    network = alive(TemporalConvNet(**SMALL | options))
    agree(network, lambda weights, video: Reference(weights, layout)(video), torch.randn(2, 25, 4).double())


def test_clips_of_other_lengths_are_sampled_at_equal_steps() -> None:
    network = alive(TemporalConvNet(**SMALL))
    features = torch.randn(3, 40, 4).double()
    lengths = (40, 25, 1)

    def reference(weights: Any, video: Any) -> Any:
        picked = [video[i * len(video) // 25] for i in range(25)]
        return Reference(weights, INCEPTION)(torch.stack(picked))

    agree(network, reference, features, lengths)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_time_runs_from_25_to_12_6_3_and_1(downsample: str) -> None:
    network = TemporalConvNet(num_classes=3, feature_dim=8, fc_dim=4, downsample=downsample)
    seen = []
    for layer in network.towers[0][:4]:
        layer.register_forward_hook(lambda _, inputs, out: seen.append((out.shape[1], out.shape[2])))
    network(torch.randn(2, 25, 8))
    assert seen == [(2, 12), (4, 6), (8, 3), (16, 1)]


def test_every_module_sees_later_steps_only_through_time() -> None:
    """Kernels run along time alone: a feature's neighbours have no part in its map."""
    network = TemporalConvNet(num_classes=3, feature_dim=8, fc_dim=None).eval()
    features = torch.randn(1, 25, 8)
    changed = features.clone()
    changed[..., 3] += 1
    differing = (network(features).embedding != network(changed).embedding)[0]
    assert not differing[[0, 1, 2, 4, 5, 6, 7]].any()


def test_dropout_by_element_or_by_channel() -> None:
    network = TemporalConvNet(num_classes=3, feature_dim=200, fc_dim=4, dropout=0.5).train()
    assert isinstance(network.heads[0][0], torch.nn.Dropout)
    spatial = TemporalConvNet(num_classes=3, feature_dim=200, fc_dim=4, dropout=0.5, spatial_dropout=True)
    dropped = spatial.heads[0][0](torch.ones(64, 1, 1, 200))
    kept = (dropped != 0).flatten(1).float().mean(1)
    assert set(kept.tolist()) == {0.0, 1.0}  # a sample's every feature, or none
    assert TemporalConvNet(num_classes=3, feature_dim=8).dropout.p == 0.2
    assert TemporalConvNet(num_classes=3, feature_dim=8, architecture="vgg").dropout.p == 0


def test_pools_that_leave_no_step_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing of 25 frames"):
        TemporalConvNet(num_classes=3, feature_dim=8, pools=(2, 2, 2, 2, 2))


COUNTS = [  # by arithmetic over the papers' sizes
    ({}, 4_302_106),
    ({"fc_dim": 512}, 2_151_706),
    ({"fc_dim": 2048}, 8_602_906),
    ({"fc_dim": 4096}, 17_204_506),
    ({"architecture": "vgg", "kernels": (5,)}, 4_300_933),
    ({"architecture": "vgg"}, 8_601_773),
    ({"architecture": "vgg", "kernels": (5,), "pools": (2,)}, 50_438_253),
    ({"architecture": "vgg", "kernels": (5,), "pools": (2, 2)}, 25_272_437),
]


def build(**options: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return models.build("temporal_convnet", num_classes=101, feature_shape=(4096,), **options)


@pytest.mark.parametrize(("options", "expected"), COUNTS)
def test_parameter_count(counted: Count, options: dict[str, Any], expected: int) -> None:
    assert counted("temporal_convnet", options, build(**options)) == expected


def test_parts_of_the_count_of_temporal_inception() -> None:
    layers = build().towers[0]
    assert sum(p.numel() for p in layers[:4].parameters()) == 1_110
    assert sum(p.numel() for p in layers[4:].parameters()) == 95


FC = {"FC512": 512, "FC1024": 1024, "FC2048": 2048, "FC4096": 4096, "noFC": None}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "1L T": {"architecture": "vgg", "kernels": (5,), "pools": (2,)},
    "1L (T,T)": {"pools": (2,), "reduction": (1,)},
    "2L {T,T}": {"architecture": "vgg", "kernels": (5,), "pools": (2, 2)},
    "2L {(T,T),(T,T)}": {"pools": (2, 2), "reduction": (2, 1)},
    "Temporal-VGG": {"architecture": "vgg", "kernels": (5,)},
    "Multi-flow Temporal-VGG": {"architecture": "vgg"},
    "Temporal-Inception": {},
}
TABLE_10 = {f"Conv{a} + Conv{b}": {"kernels": (a, b)} for a, b in ((3, 5), (3, 7), (3, 9), (5, 9), (7, 9), (5, 7))}
TABLE_10 |= {
    "2xConv3 + 3xConv3": {"kernels": ((3, 3), (3, 3, 3))},
    "Conv5 + Conv7 stride 2": {"downsample": "stride"},
}


def options_of(table: str, row: str, variant: str) -> dict[str, Any]:
    """Turn a row of the paper into arguments."""
    if table == "Table 10":
        return TABLE_10[row]
    if table == "Table 9":
        each = {"reduce_each": "inside each" in variant}
        pooled = {"Average pooling": "mean", "Max pooling": "max"}
        return {"reduction": pooled.get(row) or tuple(int(part.split(",")[1]) for part in row.split()), **each}
    name = max((name for name in ARCHITECTURES if row.startswith(name)), key=len)
    words = row[len(name) :].replace("no-", "no").replace("{T,T,T,T}", "").split()
    options = dict(ARCHITECTURES[name])
    if words and "BN" not in words:
        options["batch_norm"] = False
    if words and "dropout" not in words:
        options |= {"dropout": 0.0, "fc_dropout": 0.0}
    widths = [FC[word] for word in words if word in FC]
    return options | ({"fc_dim": widths[0]} if widths else {})


ROWS = [
    *[("Table 4", f"{name}", "") for name in ARCHITECTURES],
    *[
        (table, f"Temporal-Inception {words}", "")
        for table in ("Table 4", "Table 8")
        for words in ("noBN nodropout FC1024", "noBN dropout FC1024", "BN nodropout FC1024", "BN dropout FC2048")
    ],
    *[("Table 8", f"{name} BN dropout FC1024", "") for name in ARCHITECTURES],
    *[
        ("Table 8", f"{name} BN dropout {width}", "")
        for name in ("Temporal-VGG", "Multi-flow Temporal-VGG", "Temporal-Inception")
        for width in FC
    ],
    *[
        ("Table 9", row, place)
        for row in ("Average pooling", "Max pooling", "Conv1,1")
        for place in ("inside each", "")
    ],
    *[
        ("Table 9", " ".join(f"Conv1,{n}" for n in widths), "")
        for widths in ((2, 1), (4, 1), (8, 1), (4, 2, 1), (8, 4, 1), (8, 2, 1), (8, 4, 2, 1))
    ],
    *[("Table 10", row, "") for row in TABLE_10],
]


@pytest.mark.parametrize(("table", "row", "variant"), sorted(set(ROWS)))
def test_every_row_of_the_tables_can_be_built(table: str, row: str, variant: str) -> None:
    options = options_of(table, row, variant)
    network = TemporalConvNet(num_classes=3, feature_dim=6, **{"fc_dim": 8} | options).train()
    network(torch.randn(4, 25, 6)).logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_no_two_rows_of_a_table_are_the_same_network() -> None:
    for table in ("Table 9", "Table 10"):
        rows = [options_of(*entry) for entry in sorted(set(ROWS)) if entry[0] == table]
        assert len({json.dumps(options, sort_keys=True) for options in rows}) == len(rows)


TABLES = Path(__file__).parents[2].parent / "shared" / "papers" / "tables.json"


@pytest.mark.data
@pytest.mark.skipif(not TABLES.exists(), reason="the papers' tables do not lie beside the checkout")
def test_the_rows_above_are_all_rows_of_the_published_tables() -> None:
    published = {
        (entry["table"], entry["row"], entry["variant"])
        for entry in json.loads(TABLES.read_text())
        if entry["paper"].startswith("001") and entry["table"] in {"Table 4", "Table 8", "Table 9", "Table 10"}
    }
    assert len(published) == 52
    for table, row, variant in published:
        with torch.device("meta"):
            TemporalConvNet(num_classes=101, feature_dim=4096, **options_of(table, row, variant))
