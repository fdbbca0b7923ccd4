"""The process that forks a child per stage: it imports what stages need once, and each child starts with it in memory.

``worker.host.forkserver`` starts it as ``python -m worker.rank.zygote SOCKET_FD torch|light``. It runs no
tensor operation, touches no GPU and starts no thread, so that a fork of it is safe; it has one thread, so that the
children's parent-death signal, which the kernel ties to the thread that forked, means the death of this process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from services.stages import KINDS
from worker.contract import EXIT_FAILED, MESSAGE_BYTES, STAGES
from worker.rank.run import die_with_parent, log_to_stderr, run_task

logger = logging.getLogger(__name__)

OOM_SCORE = "500"  # of 1000: when memory ends, the kernel ends a stage before a worker or a database


def preload(modules: list[str]) -> None:
    """Import the modules of the stages, and keep the collector off their memory, so that children share its pages.

    A module that does not import takes no other with it: the stage that needs it fails by itself, with the traceback.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # whatever a module raises, the server must serve the others
            logger.exception("cannot import %s", module)
    gc.collect()
    gc.freeze()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        logger.warning("the zygote has %d threads after its imports: %s", threads, modules)


class Zygote:
    """Serves one client: forks, signals and reaps until the client closes its end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        self._wakeup, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> None:
        """Answer requests; when the client is gone, leave no child behind."""
        self._say({"ready": True})
        with selectors.DefaultSelector() as ready:
            ready.register(self._control, selectors.EVENT_READ)
            ready.register(self._wakeup, selectors.EVENT_READ)
            while True:
                found = {key.fileobj for key, _ in ready.select()}
                if self._wakeup in found:
                    os.read(self._wakeup, 4096)
                    self._reap()
                if self._control in found and not self._answer():
                    break
        for number in list(self._pids):
            self._bury(number)

    def _answer(self) -> bool:
        """Obey one message; False at the end of the connection."""
        try:
            packet = self._control.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            return False
        if packet:
            message = json.loads(packet)
            self._run(message) if "run" in message else self._signal(message["kill"], message["signal"])
        return bool(packet)

    def _run(self, request: dict[str, Any]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._say({"started": request["run"], "refused": str(error)})
            return
        if pid == 0:
            self._become_stage(request, zygote)
        self._pids[request["run"]] = pid
        self._say({"started": request["run"], "pid": pid})

    def _signal(self, number: int, signal_number: int) -> None:
        pid = self._pids.get(number)
        if pid is None:
            return  # its end was reported while the request was under way
        if signal_number == signal.SIGKILL:
            _kill_group(pid)
        else:
            os.kill(pid, signal_number)

    def _reap(self) -> None:
        for number, pid in list(self._pids.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self._bury(number)

    def _bury(self, number: int) -> None:
        pid = self._pids.pop(number)
        _kill_group(pid)  # before the leader is reaped, while nobody else can have its number
        _, status = os.waitpid(pid, 0)
        self._say({"ended": number, "status": status})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is read next
            self._control.send(json.dumps(message).encode())

    def _become_stage(self, request: dict[str, Any], zygote: int) -> NoReturn:
        """Run the stage in this fresh child, and never return into the server's code."""
        code = EXIT_FAILED
        try:
            os.setsid()
            die_with_parent(zygote)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.close(self._wakeup)
            _redirect(Path(request["log"]))
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
            os.environ.update(request["environment"])
            tempfile.tempdir = None  # which this process may have looked up before
            if request["gpus"] > 1:
                _exec_torchrun(request)
            code = run_task(Path(request["task"]))
        except BaseException:  # nothing may pass into the server's frames above
            logger.exception("the process of a stage failed outside its stage")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(code)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # forked a moment ago: setsid has not made the group yet


def _redirect(log_file: Path) -> None:
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _exec_torchrun(request: dict[str, Any]) -> NoReturn:
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={request['gpus']}", "-m", "worker.rank.run"]
    command = [sys.executable, "-m", *launcher, request["task"]]
    os.execv(sys.executable, command)  # noqa: S606  # no shell is wanted: it keeps pid and parent-death signal


def main(arguments: list[str]) -> None:
    """Get ready and serve until the client is gone."""
    descriptor, kinds = int(arguments[0]), arguments[1]
    os.set_inheritable(descriptor, False)
    log_to_stderr()
    preload([module for kind, module in STAGES.items() if KINDS[kind].needs_torch == (kinds == "torch")])
    control = socket.socket(fileno=descriptor)
    Zygote(control).serve()
    logging.shutdown()
    os._exit(0)  # without the noise that libraries make when an interpreter is taken down


if __name__ == "__main__":
    main(sys.argv[1:])
