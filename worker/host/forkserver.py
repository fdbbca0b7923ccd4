"""Starts stages in milliseconds: asks a process that has imported torch and the stage modules to fork a child each.

The threads of the Celery worker use it, which imports no torch itself; ``worker.rank.zygote`` is what forks.
Who dies, and who follows:

    the worker    the zygote reads the end of its socket, kills every child's group and exits
    the zygote    its children by their parent-death signal; the client reports them lost and starts another zygote
    a stage       what is left of its process group is killed before its exit is reported
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.errors import TwostreamError
from services.stages import KINDS, StageKind
from worker.contract import MESSAGE_BYTES

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
START_SECONDS = 300.0
"""Far longer than its imports and a fork take on a busy machine: a zygote that is as slow hangs."""
Preload = Literal["torch", "light"]

# A rank process gets no secret and no connection string: of the worker's environment only what is named here.
PASSED_NAMES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP", "VIRTUAL_ENV"}
    | {"LD_LIBRARY_PATH", "LD_PRELOAD", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
)
PASSED_PREFIXES = (
    *("LC_", "XDG_", "PYTHON", "COVERAGE", "CUDA", "CUBLAS", "CUDNN", "NVIDIA", "NCCL", "TORCH", "PYTORCH", "GLOO"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENCV_"),
)


class StartFailed(TwostreamError):
    """The process of a stage could not be started, though a new zygote was tried."""


@dataclass(frozen=True)
class Exit:
    """How a child ended: by an exit code, by a signal, or unseen, because the zygote died."""

    code: int | None = None
    signal: int | None = None
    zygote_died: bool = False


class Child:
    """One running stage: the leader of a session and process group of its own.

    Attributes:
        pid: process id, also of its session and group.
        log_file: receives standard output and standard error.
    """

    def __init__(self, zygote: _Zygote, number: int, pid: int, log_file: Path) -> None:
        self.pid, self.log_file = pid, log_file
        self._zygote, self._number = zygote, number
        self._exit: Exit | None = None
        self._ended = threading.Event()

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Return how the child ended as soon as it did, or None when ``timeout`` seconds passed."""
        self._ended.wait(timeout)
        return self._exit

    def terminate(self, number: signal.Signals) -> None:
        """Send SIGKILL to the whole group, any other signal to its leader, which answers for its own children.

        (SIGTERM to the group would take away the workers of a data loader from a loop that is to write a checkpoint.)
        """
        self._zygote.send({"kill": self._number, "signal": int(number)})

    def end(self, how: Exit) -> None:
        """Wake those who wait; called by the client's reader alone."""
        self._exit = how
        self._ended.set()


class ForkServer:
    """Runs stages of the kinds that one zygote has ready; safe to share between threads.

    Args:
        preload: ``light`` has the modules of kinds that need no torch ready, ``torch`` those of all others.
    """

    def __init__(self, preload: Preload) -> None:
        self._preload = preload
        self._zygote: _Zygote | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the zygote if none runs; returns at once, its imports go on in the background."""
        self._running()

    def run(self, task_file: Path, log_file: Path, environment: Mapping[str, str], gpus: int = 1) -> Child:
        """Start the stage of a task file and return when its process runs.

        Args:
            task_file: JSON of a ``worker.contract.Task``.
            log_file: standard output and error are appended to it.
            environment: variables of this stage alone, such as ``CUDA_VISIBLE_DEVICES``.
            gpus: above 1, ``torchrun`` starts that many ranks.

        Raises:
            StartFailed: no process could be started.
        """
        request = {"task": str(task_file), "log": str(log_file), "environment": dict(environment), "gpus": gpus}
        for _ in range(2):
            child = self._running().run(request)
            if child is not None:
                return child
        raise StartFailed(f"the {self._preload} zygote died twice before it could start a stage; see the worker's log")

    def close(self, patience_seconds: float = CLOSE_SECONDS) -> None:
        """End the zygote and every stage that it runs; what has not ended after ``patience_seconds`` is killed."""
        with self._lock:
            if self._zygote is not None:
                self._zygote.close(patience_seconds)
            self._zygote = None

    @property
    def pid(self) -> int | None:
        """Process id of the zygote, or None when none runs."""
        with self._lock:
            return self._zygote.process.pid if self._zygote is not None and self._zygote.alive else None

    def _running(self) -> _Zygote:
        with self._lock:
            if self._zygote is None or not self._zygote.alive:
                self._zygote = _Zygote(self._preload)
            return self._zygote


class ForkServers:
    """A fork server for the kinds without torch and one for the rest, each started when it is first needed."""

    def __init__(self) -> None:
        self._servers = {"light": ForkServer("light"), "torch": ForkServer("torch")}

    def start(self, kinds: Iterable[StageKind]) -> None:
        """Get ready for these kinds, in the background, so that their first stage need not wait for imports."""
        for kind in kinds:
            self._of(kind).start()

    def run(
        self, kind: StageKind, task_file: Path, log_file: Path, environment: Mapping[str, str], gpus: int = 1
    ) -> Child:
        """Start a stage; see ``ForkServer.run``."""
        return self._of(kind).run(task_file, log_file, environment, gpus)

    def close(self) -> None:
        """End both servers and every stage that they run."""
        for server in self._servers.values():
            server.close()

    def _of(self, kind: StageKind) -> ForkServer:
        return self._servers["torch" if KINDS[kind].needs_torch else "light"]


class _Zygote:
    """One zygote process, from its start to its death, seen from the client."""

    def __init__(self, preload: Preload) -> None:
        self.alive, self._ready = True, False
        self._started_at = time.monotonic()
        self._numbers = itertools.count()
        self._starting: dict[int, tuple[Future[Child | None], Path]] = {}
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._buried = threading.Event()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.rank.zygote", str(theirs.fileno()), preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=stage_environment(os.environ),
                start_new_session=True,  # Ctrl-C reaches the worker alone, which ends its stages in order
            )
        threading.Thread(target=self._read, name=f"zygote-{preload}", daemon=True).start()

    def run(self, request: dict[str, Any]) -> Child | None:
        """Ask for a child; None means that the zygote died first."""
        with self._lock:
            if not self.alive:
                return None
            number = next(self._numbers)
            started: Future[Child | None] = Future()
            self._starting[number] = started, Path(request["log"])
        self.send({"run": number, **request})
        try:
            return started.result(START_SECONDS)
        except TimeoutError:
            logger.error("the zygote %d has not started a stage in %.0f s: killed", self.process.pid, START_SECONDS)
            self.process.kill()
            return None

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a zygote that is gone gets none, and its end of the socket tells the reader."""
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode())

    def close(self, patience_seconds: float) -> None:
        """Say that no request will come, which ends the zygote and its children, and wait for that."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if not self._ready:  # it has no child yet, and would finish its imports first
            self.process.kill()
        try:
            self.process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._buried.wait()

    def _read(self) -> None:
        while packet := self._receive():
            try:
                self._take(json.loads(packet))
            except Exception:  # one bad message must not leave the stages of the others unwatched
                logger.exception("a message of zygote %d is not understood: %.200r", self.process.pid, packet)
        self._bury()

    def _receive(self) -> bytes:
        """Return the next message, or nothing at the end of the connection."""
        try:
            return self._socket.recv(MESSAGE_BYTES)
        except OSError:
            return b""

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = True
            logger.info("zygote %d is ready after %.1f s", self.process.pid, time.monotonic() - self._started_at)
            return
        if "ended" in message:
            code = os.waitstatus_to_exitcode(message["status"])
            self._children.pop(message["ended"]).end(Exit(code=code) if code >= 0 else Exit(signal=-code))
            return
        number = message["started"]
        with self._lock:
            started, log_file = self._starting.pop(number)
        if "refused" in message:
            started.set_exception(StartFailed(f"fork: {message['refused']}"))
        else:
            child = self._children[number] = Child(self, number, message["pid"], log_file)
            started.set_result(child)

    def _bury(self) -> None:
        """Kill what the zygote may have left, and tell every waiting thread."""
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with self._lock:
            self.alive = False
            self._socket.close()
        if self._children:
            logger.error("the zygote %d died with %d stages running", self.process.pid, len(self._children))
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # its leader had a parent-death signal, its children need not
            child.end(Exit(zygote_died=True))
        for started, _ in self._starting.values():
            if not started.done():
                started.set_result(None)
        self._buried.set()


def stage_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the worker's environment that a stage may see.

    One thread for OpenBLAS, which numpy loads, keeps the zygote free of threads; torch does not use it. OpenMP's
    threads sleep while they wait: spinning, those of neighbouring stages slow each other down many times.
    """
    passed = {
        name: value for name, value in environment.items() if name in PASSED_NAMES or name.startswith(PASSED_PREFIXES)
    }
    return {"OMP_WAIT_POLICY": "PASSIVE", **passed, "OPENBLAS_NUM_THREADS": "1"}
