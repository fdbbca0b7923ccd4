"""What becomes of parts that end or hang, before their first answer and after: small programs as parts."""

import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cli.stack import ports
from cli.stack.process import Command, StackError
from cli.stack.supervisor import RESTARTS, Limits, Running, Supervisor
from tests.cli.stacks import PATIENCE_SECONDS, gone, until

SERVE = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
"""Answers, by a file, and goes on."""
HANG = "import time; time.sleep(600)"
COMPUTE = "import pathlib, sys, time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass\n" + SERVE
"""Answers after more work than a part may do nothing for."""
END = "raise SystemExit('no disk')"


@dataclass
class Toy:
    """A part that runs one program after another; the last one again and again."""

    folder: Path
    programs: list[str]
    prepared: list[Exception | None] = field(default_factory=list)
    starts: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "toy.log"

    def prepare(self) -> None:
        if self.prepared and (error := self.prepared.pop(0)) is not None:
            raise error

    def command(self) -> Command:
        program = self.programs[min(self.starts, len(self.programs) - 1)]
        self.starts += 1
        return Command("toy", (sys.executable, "-IS", "-c", program, str(self.answer)), self.log)

    @property
    def answer(self) -> Path:
        return self.folder / f"answer-{self.starts}"

    def healthy(self, _pid: int) -> bool:
        return self.answer.exists()


@pytest.fixture
def said():
    return []


@pytest.fixture
def make_fleet(said):
    """A function that makes a supervisor, which waits little between restarts, and forgets nothing within a test."""
    fleets = []

    def make(**limits: float) -> Supervisor:
        fleets.append(Supervisor(said.append, time.sleep, limits=Limits(**{"first_pause_seconds": 0.01} | limits)))
        return fleets[-1]

    yield make
    for fleet in fleets:
        for name in fleet.parts:
            fleet.stop(name, lambda: True)


@pytest.fixture
def fleet(make_fleet):
    return make_fleet()


def look_until(fleet, true, what):
    def looked() -> bool:
        fleet.look()
        return bool(true())

    until(looked, what)


def process_of(fleet):
    return psutil.Process(fleet.parts["toy"].process.pid)


@pytest.mark.parametrize("without", [None, "going on"])
def test_a_part_that_is_killed_is_started_again_before_its_first_answer_and_after(fleet, said, tmp_path, without):
    fleet.start(Running("toy", Toy(tmp_path, [HANG, HANG, SERVE, SERVE]), "", without))
    for _ in range(2):
        killed = process_of(fleet)
        killed.kill()
        look_until(fleet, lambda killed=killed: fleet.parts["toy"].process and process_of(fleet) != killed, "a new one")
    fleet.wait_for("toy")
    process_of(fleet).kill()
    look_until(fleet, lambda: not fleet.parts["toy"].ready, "its end")
    fleet.wait_for("toy")
    log = tmp_path / "toy.log"
    assert [line.partition(" after ")[0] for line in said] == [
        f"toy was ended by SIGKILL during its start; starting it again (log: {log})",
        f"toy was ended by SIGKILL during its start; starting it again in 0 s (log: {log})",
        "toy      ready",
        f"toy was ended by SIGKILL; starting it again in 0 s (log: {log})",
        "toy      ready",
    ]


@pytest.mark.parametrize("answers", [True, False])
def test_a_needed_part_that_keeps_ending_is_given_up_with_its_last_words(fleet, said, tmp_path, answers):
    ends = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(0.2); sys.exit('no disk')"
    fleet.start(Running("toy", Toy(tmp_path, [ends if answers else END]), ""))
    with pytest.raises(
        StackError, match=r"toy exited with code 1.* for the 6th time within 15 min\n.*\n( .*\n)*  no disk"
    ):
        look_until(fleet, lambda: False, "the end of patience")
    assert len([line for line in said if "starting it again" in line]) == RESTARTS


def test_a_part_that_can_be_spared_never_is_told_of_once_and_comes_back(fleet, said, tmp_path):
    toy = Toy(tmp_path, [END] * (RESTARTS + 4) + [SERVE])
    fleet.start(Running("toy", toy, "", "going on without toys"))
    fleet.wait_for("toy")
    assert toy.starts == RESTARTS + 5
    (told,) = [line for line in said if "going on without toys" in line]
    assert told.startswith("toy exited with code 1 during its start for the 6th time; ")
    assert said.index(told) == len(said) - 2, "what follows is told by the answer alone"


def test_the_pause_grows_and_old_ends_are_forgotten(make_fleet, tmp_path):
    fleet = make_fleet(first_pause_seconds=1.0, last_pause_seconds=5.0)
    entry = Running("toy", Toy(tmp_path, [HANG]), "", "going on")
    fleet.parts["toy"] = entry
    pauses = []
    for _ in range(6):
        fleet._ended(entry, "toy ended")
        pauses.append(entry.start_at - entry.ends[-1])
    assert pauses == pytest.approx([0, 1, 2, 4, 5, 5])
    fleet = make_fleet(window_seconds=0.0)
    fleet._ended(entry, "toy ended")
    assert entry.start_at == entry.ends[-1]


def test_a_part_that_hangs_at_its_start_is_ended_and_one_that_works_is_not(make_fleet, said, tmp_path):
    fleet = make_fleet(silent_seconds=1.0, busy_seconds=0.05)  # also on a machine that others keep busy
    toy = Toy(tmp_path, [HANG, COMPUTE])
    fleet.start(Running("toy", toy, ""))
    hung = process_of(fleet)
    fleet.wait_for("toy")
    assert gone(hung)
    assert toy.starts == 2
    assert "toy did not answer within " in said[0]


def test_a_part_that_is_stopped_by_a_signal_at_its_start_is_ended(make_fleet, tmp_path):
    fleet = make_fleet(silent_seconds=0.5)
    fleet.start(Running("toy", Toy(tmp_path, [HANG, SERVE]), "", "going on"))
    hung = process_of(fleet)
    hung.send_signal(signal.SIGSTOP)
    fleet.wait_for("toy")
    assert gone(hung)


def test_a_start_that_computes_without_end_has_a_limit(make_fleet, said, tmp_path):
    fleet = make_fleet(start_seconds=1.0)
    fleet.start(Running("toy", Toy(tmp_path, ["while True: pass", SERVE]), ""))
    fleet.wait_for("toy")
    assert "toy did not answer within " in said[0]


@pytest.mark.parametrize("error", [StackError("toy: initdb: no space"), OSError("no space")])
def test_what_cannot_be_made_ready_again_counts_as_an_end(fleet, said, tmp_path, error):
    fleet.start(Running("toy", Toy(tmp_path, [HANG, SERVE], [None, error, error, None]), ""))
    process_of(fleet).kill()
    fleet.wait_for("toy")
    assert [line for line in said if line.startswith("toy: ") and "no space; starting it again" in line] == said[1:3]


def test_at_the_first_start_a_needed_part_that_cannot_be_made_ready_is_told_at_once(fleet, tmp_path):
    with pytest.raises(StackError, match="toy: no space"):
        fleet.start(Running("toy", Toy(tmp_path, [SERVE], [OSError("no space")]), ""))
    fleet.start(Running("toy", Toy(tmp_path, [SERVE], [OSError("no space"), None]), "", "going on"))
    fleet.wait_for("toy")


def test_while_one_part_is_waited_for_another_is_started_again(fleet, tmp_path):
    for name in ("toy", "other"):
        (tmp_path / name).mkdir()
    fleet.start(Running("toy", Toy(tmp_path / "toy", [SERVE]), ""))
    fleet.wait_for("toy")
    process_of(fleet).kill()
    fleet.start(Running("other", Toy(tmp_path / "other", [COMPUTE]), ""))
    fleet.wait_for("other")
    assert fleet.parts["toy"].ready


def test_a_port_that_was_lost_after_the_first_answer_is_named(fleet, said, tmp_path, port):
    toy = Toy(tmp_path, [SERVE, END])
    fleet.start(Running("toy", toy, f"redis://127.0.0.1:{port}", binds=True))
    fleet.wait_for("toy")
    process_of(fleet).kill()
    with ports.listen("127.0.0.1", port), pytest.raises(StackError, match=f"another program took port {port}"):
        look_until(fleet, lambda: False, "the end of patience")


def test_the_state_of_all_parts_is_told_when_it_changes(tmp_path):
    seen = []
    fleet = Supervisor(
        lambda _line: None, time.sleep, lambda: seen.append([part.ready for part in fleet.parts.values()])
    )
    fleet.start(Running("toy", Toy(tmp_path, [SERVE]), ""))
    fleet.wait_for("toy")
    assert seen == [[False], [True]]
    fleet.stop("toy")
    until(lambda: not fleet.parts["toy"].process.running(), "its end", PATIENCE_SECONDS)
