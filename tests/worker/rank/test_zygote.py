"""The process that forks a child per stage: it has imported what it could, and outlives no client."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.worker.conftest import PATIENCE_SECONDS, stages_from
from worker.contract import MESSAGE_BYTES

COMMAND = [sys.executable, "-m", "worker.rank.zygote"]


@contextmanager
def zygote(log: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Start a zygote as the fork server does, with two scripted stages of which one does not import."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE_SECONDS)
    with theirs, log.open("wb") as errors, stages_from(index="scripted_stage", flow="no_such_stage"):
        command = [*COMMAND, str(theirs.fileno()), "light"]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=errors)
    with ours, process:
        yield ours, process


def told(ours: socket.socket) -> dict[str, object]:
    message: dict[str, object] = json.loads(ours.recv(MESSAGE_BYTES))
    return message


def test_a_module_that_does_not_import_keeps_no_zygote_from_serving(tmp_path: Path) -> None:
    with zygote(tmp_path / "log") as (ours, process):
        assert told(ours) == {"ready": True}
        assert process.poll() is None
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "cannot import worker.stages.flow" in (tmp_path / "log").read_text()


def test_a_task_that_cannot_be_read_ends_its_own_process_alone(tmp_path: Path) -> None:
    with zygote(tmp_path / "log") as (ours, process):
        assert told(ours) == {"ready": True}
        request = {"task": str(tmp_path / "none"), "log": str(tmp_path / "stage.log"), "environment": {}, "gpus": 1}
        ours.send(json.dumps({"run": 7, **request}).encode())
        assert told(ours)["started"] == 7
        ended = told(ours)
        assert (ended["ended"], ended["status"] != 0) == (7, True)
        assert process.poll() is None
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "failed outside its stage" in (tmp_path / "stage.log").read_text()
