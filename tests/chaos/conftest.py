"""One fleet for all faults of this process, the undisturbed run, and the table at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.checks import Holdings, ours, take_stock
from tests.chaos.disks import small_disks
from tests.chaos.fleet import Fleet
from tests.cli.stacks import all_gone, until

COLUMNS = ("fault", "recovery", "lost", "doubled", "bits equal")


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The home of the fleet. Not below pytest's own folder: that one is private, and as root PostgreSQL is another
    user."""
    folder = Path(tempfile.mkdtemp(prefix="twostream-chaos-"))
    with small_disks(folder / "work", folder / "artifacts"):
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fleet(home: Path) -> Iterator[Fleet]:
    """The stack with two workers."""
    fleet = Fleet(home)
    yield fleet
    left = ours(fleet)
    fleet.close()
    until(lambda: all_gone(left), "the end of every process", details=lambda: str(left))
    assert ours(fleet) == []


@pytest.fixture(scope="session")
def undisturbed(fleet: Fleet) -> Holdings:
    """What the work of every fault leaves when nothing happens to it."""
    fleet.make_whole()
    run = fleet.begin("undisturbed")
    run.finish()
    found = take_stock(fleet, run)
    assert len(found.bits) > 10
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each fault of this run."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    rows = [value for report in reports for name, value in report.user_properties if name == "chaos"]
    if rows:
        terminalreporter.section("chaos")
        for fault, *cells in [COLUMNS, *rows]:
            terminalreporter.write_line(f"{fault:60}" + "".join(f"{cell:>12}" for cell in cells))
