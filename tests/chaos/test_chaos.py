"""Whatever fails while an experiment runs: it ends as if nothing had happened, and leaves the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.chaos.checks import Holdings, strays, take_stock
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.fleet import Fleet

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(1800)]


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.id) for fault in FAULTS])
def test_a_fault_loses_and_doubles_nothing(
    fleet: Fleet, undisturbed: Holdings, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    fleet.make_whole()
    run = fleet.begin(fault.id)
    fault.inflict(fleet, run)
    over_at, event = time.monotonic(), run.last_event()
    fleet.wait(lambda: run.goes_on_after(event), "progress after the fault")
    fleet.make_whole()
    seconds = time.monotonic() - over_at
    run.finish()
    found = take_stock(fleet, run)
    lost = (undisturbed.written - found.written) + (found.told - found.heard)
    doubled = (found.written - undisturbed.written) + (found.heard - found.told)
    same = found.bits == undisturbed.bits
    cells = (fault.name, f"{seconds:.1f} s", str(lost.total()), str(doubled.total()), "yes" if same else "NO")
    record_property("chaos", cells)
    assert (lost, doubled) == ({}, {})
    assert same, [name for name in found.bits if found.bits[name] != undisturbed.bits.get(name)]
    fleet.wait(lambda: not strays(fleet), "the end of every process of a stage")
    assert fleet.rows("SELECT 1 FROM event WHERE type = 'mlflow.refused'") == []
