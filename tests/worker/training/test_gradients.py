"""Micro batches add up to the whole batch, and are halved where memory is short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.parts.output import Output
from services.errors import Cause, OutOfMemory, UserError
from services.specs import TrainingSpec
from tests.worker.training.conftest import samples
from worker.contract import Reporter
from worker.training.batches import Batch
from worker.training.distributed import World
from worker.training.gradients import Gradients


class Bounded(nn.Module):
    """Two layers that hold no more than ``most`` samples at once, and a batch norm if asked for."""

    def __init__(self, most: int = 1000, *, batch_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 3))
        self.norm = nn.BatchNorm1d(3) if batch_norm else nn.Identity()
        self.most, self.sizes = most, []  # type: ignore[var-annotated]

    def forward(self, x: Tensor) -> Output:
        self.sizes.append(len(x))
        out = self.norm(self.layers(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Output(out)


def of(model: nn.Module, report: Reporter, seed: int = 9, **changes: Any) -> tuple[dict[str, Tensor], list[float]]:
    features, labels = samples(11)
    double = next(model.parameters()).dtype is torch.float64
    gradients = Gradients(model.train(), TrainingSpec(**changes), World(), report)
    totals = gradients.compute(Batch(features.double() if double else features, labels, 11), seed)
    return {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }, totals.tolist()


@pytest.fixture
def report(tmp_path: Path) -> Any:
    report = Reporter(tmp_path / "events")
    yield report
    report.close()


def warnings(report: Reporter) -> list[str]:
    lines = Path(report._file.name).read_text().splitlines()
    return [event["data"]["message"] for event in map(json.loads, lines) if event["type"] == "warning"]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 10, 11, 64])
def test_micro_batches_add_up_to_the_whole(report: Reporter, micro_batch: int) -> None:
    model = Bounded().double()
    whole, totals = of(model, report)
    model.sizes.clear()
    parts, others = of(model, report, micro_batch=micro_batch)
    assert (max(model.sizes), sum(model.sizes)) == (min(11, -(-11 // -(-11 // micro_batch))), 11)
    difference = max(float((parts[name] - whole[name]).abs().max()) for name in whole)
    print(f"micro batches of {micro_batch} differ by {difference:.1e}")
    assert difference < 1e-12
    assert others == pytest.approx(totals)


def test_a_network_that_takes_several_steps_ends_with_the_same_weights(make_loop: Any) -> None:
    ends = []
    for name, micro_batch in (("whole", None), ("parts", 2)):
        model = Bounded()
        make_loop(name=name, model=model, micro_batch=micro_batch).run()
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-5)


def test_auto_takes_the_whole_batch_where_it_fits(report: Reporter) -> None:
    model = Bounded()
    of(model, report, micro_batch="auto")
    assert model.sizes == [11]
    assert warnings(report) == []


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_auto_halves_until_it_fits_and_says_so(report: Reporter, dropout: float) -> None:
    """The step that did not fit is done again as if it had been tried in micro batches at first."""
    expected, _ = of(Bounded(dropout=dropout), report, micro_batch=3)
    model = Bounded(most=3, dropout=dropout)
    found, totals = of(model, report, micro_batch="auto")
    assert model.sizes == [11, 5, 2, 3, 3, 3]
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert totals[2] == 11
    assert warnings(report) == [
        f"out of memory with {taken} samples at once, going on with micro batches of {halved}:"
        " CUDA out of memory. Tried to allocate 2.00 GiB."
        for taken, halved in ((11, 6), (6, 3))
    ]


def test_a_step_that_is_done_again_counts_once_in_moving_statistics(report: Reporter) -> None:
    plain, short = Bounded(batch_norm=True), Bounded(most=3, batch_norm=True)
    of(plain, report, micro_batch=3)
    of(short, report, micro_batch="auto")
    assert short.norm.num_batches_tracked == 4
    assert torch.equal(plain.norm.running_mean, short.norm.running_mean)


def test_no_micro_batch_leaves_a_single_sample_to_batch_norm(report: Reporter) -> None:
    model = Bounded(batch_norm=True)
    of(model, report, micro_batch=2)
    assert model.sizes == [2, 2, 2, 2, 3]
    with pytest.raises(UserError, match=r"micro_batch: got 1, allowed: at least 2, since batch norm"):
        of(model, report, micro_batch=1)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_without_auto_the_error_says_what_was_needed_and_names_the_option(
    report: Reporter, micro_batch: int | None
) -> None:
    words = r"samples at once do not fit into memory: CUDA .* allocate 2\.00 GiB\.; hint: micro_batch: auto"
    with pytest.raises(OutOfMemory, match=rf"^{micro_batch or 11} {words}") as caught:
        of(Bounded(most=1), report, micro_batch=micro_batch)
    assert caught.value.cause is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize("batch_norm", [False, True])
def test_auto_ends_where_the_least_does_not_fit(report: Reporter, batch_norm: bool) -> None:
    with pytest.raises(OutOfMemory, match=rf"^{1 + batch_norm} samples at once do not fit into memory"):
        of(Bounded(most=0, batch_norm=batch_norm), report, micro_batch="auto")


def test_another_error_is_no_shortage(report: Reporter) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        of(nn.Sequential(nn.Linear(2, 2)), report, micro_batch="auto")


def test_what_was_found_to_fit_is_kept_in_the_checkpoint(make_loop: Any, tmp_path: Path) -> None:
    make_loop(model=Bounded(most=2), micro_batch="auto", epochs=1).run()
    model = Bounded(most=2)
    make_loop(model=model, micro_batch="auto", epochs=2).run()
    assert max(model.sizes) == 2
    assert len(warnings_of(tmp_path)) == 1


def warnings_of(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "run" / "events").read_text().splitlines()
    return [line for line in lines if '"warning"' in line]


def test_a_real_network_adds_up(report: Reporter) -> None:
    """TS-LSTM without batch norm and dropout, in float64."""

    def built() -> nn.Module:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"feature_shape": (5,), "hidden": (8,), "batch_norm": False, "dropout": 0.0}
        return models.build("ts_lstm", num_classes=3, **sizes).double()

    whole, parts = (of(built(), report, micro_batch=size)[0] for size in (None, 4))
    assert max(float((parts[name] - whole[name]).abs().max()) for name in whole) < 1e-12
