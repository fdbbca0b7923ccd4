"""Made-up clips by the thousand, and stages on them as real processes whose anonymous memory is watched.

The clips have a few distinct bodies, each with a tail of its own, so that writing 13,320 of them takes seconds while
every one has a hash of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from services.stages import KINDS, IndexParams
from worker.contract import EXIT_SUCCEEDED, StageInput, Task
from worker.host.forkserver import Child, ForkServers
from worker.video.generated.motion_shapes import write_avi

HEIGHT, WIDTH = 48, 64
CLASSES = 10
POLL_SECONDS = 0.05
JUNK = b"JUNK"


class Ran(NamedTuple):
    """A stage that ran.

    Attributes:
        output: as an input of other stages.
        anonymous_bytes: the most that any one of its processes held at once, page cache and mapped files apart.
        mapped: the most memory maps that any one of its processes had.
        seconds: how long it took.
    """

    output: StageInput
    anonymous_bytes: int
    mapped: int
    seconds: float

    def named(self, name: str) -> StageInput:
        """Return the output as the input of that name."""
        return self.output.model_copy(update={"name": name})


def write_dataset(folder: Path, count: int, frames: Sequence[int]) -> IndexParams:
    """Write clips and lists in UCF101's layout; three of four clips are to train on.

    Args:
        folder: of the dataset.
        count: clips.
        frames: lengths, of which each clip has one.
    """
    bodies = [_body(folder / "body.avi", length) for length in frames]
    root, lists = folder / "clips", folder / "lists"
    lists.mkdir(parents=True)
    names = [f"C{number % CLASSES}/v_C{number % CLASSES}_g{number:05d}_c01.avi" for number in range(count)]
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tail = number.to_bytes(8)
        path.write_bytes(bodies[number % len(bodies)] + JUNK + len(tail).to_bytes(4, "little") + tail)
    (lists / "classInd.txt").write_text("".join(f"{label + 1} C{label}\n" for label in range(CLASSES)))
    (lists / "trainlist01.txt").write_text("".join(f"{name}\n" for place, name in enumerate(names) if place % 4))
    (lists / "testlist01.txt").write_text("".join(f"{name}\n" for place, name in enumerate(names) if not place % 4))
    return IndexParams(dataset="made_up", root=str(root), annotations=str(lists))


def _body(path: Path, length: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    places = across[None] + down[None] - 2 * np.arange(length)[:, None, None]
    grey = 127 + 80 * np.sin(places / 4)
    write_avi(path, np.rint(grey).astype(np.uint8)[..., None].repeat(3, axis=-1))
    content = path.read_bytes()
    path.unlink()
    return content


class Fleet:
    """Runs stages as a worker does: forked from a process that has imported what they need.

    Args:
        folder: of the stages.
        servers: that fork them.
    """

    def __init__(self, folder: Path, servers: ForkServers) -> None:
        self._folder, self._servers = folder, servers

    def run(self, kind: str, params: Mapping[str, Any], inputs: Sequence[StageInput], name: str = "") -> Ran:
        """Run a stage on a processor, and watch its memory; its folder has its kind's name unless it has its own."""
        home = self._folder / (name or kind)
        for part in ("output", "state"):
            (home / part).mkdir(parents=True)
        task = Task(
            key=kind.ljust(64, "0"),
            kind=kind,
            attempt=1,
            params=KINDS[kind].params.model_validate(params).model_dump(mode="json"),  # type: ignore[index]
            inputs=tuple(inputs),
            output=home / "output",
            state=home / "state",
            events=home / "events",
            result=home / "result",
            data_root=home / "data",
            threads=1,
        )
        (home / "task.json").write_text(task.model_dump_json())
        began = time.monotonic()
        child = self._servers.run(kind, home / "task.json", home / "log", {"OMP_NUM_THREADS": "1"})
        anonymous, mapped = _watch(child)
        ended = child.wait(0)
        assert ended is not None
        assert ended.code == EXIT_SUCCEEDED, (home / "log").read_text()[-4000:]
        output = StageInput(name=kind, kind=kind, key=task.key, path=task.output)
        return Ran(output, anonymous, mapped, time.monotonic() - began)


def _watch(child: Child) -> tuple[int, int]:
    anonymous = mapped = 0
    while child.wait(POLL_SECONDS) is None:
        for pid in _family(child.pid):
            with suppress(OSError):
                anonymous = max(anonymous, _anonymous_bytes(pid))
                mapped = max(mapped, Path(f"/proc/{pid}/maps").read_bytes().count(b"\n"))
    return anonymous, mapped


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: list[int] = []
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            children += map(int, file.read_text().split())
    return [pid, *(member for child in children for member in _family(child))]


def _anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0
