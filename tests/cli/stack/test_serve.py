"""uvicorn on a socket that is handed to it: a small application in real processes."""

import http.client
import os
import socket
import sys

import httpx
import psutil
import pytest

from cli.stack import ports
from cli.stack.http import status_of
from cli.stack.process import Command, Process, StackError
from tests.cli.stacks import PATIENCE_SECONDS, listening

BYSTANDER = (sys.executable, "-c", "import time; time.sleep(600)")
"""A program that holds what it inherits for longer than a test lasts; whoever starts it ends it."""
APPLICATION = f"""
import os, subprocess

def create_app():
    subprocess.Popen({BYSTANDER!r}, close_fds=False)
    async def application(scope, receive, send):
        if scope["type"] == "http":
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": str(os.getpid()).encode()}})
    return application

def broken():
    raise SystemExit("the database is away")
"""


@pytest.fixture
def listener():
    with ports.listen(ports.LOOPBACK, 0) as listener:
        yield listener


@pytest.fixture
def serve(tmp_path, listener):
    """A function that starts the application on the test's socket; at the end its processes are killed."""
    (tmp_path / "application.py").write_text(APPLICATION)
    started: list[Process] = []

    def start(factory: str = "create_app") -> Process:
        descriptor = listener.fileno()
        argv = (sys.executable, "-m", "cli.stack.serve", f"application:{factory}", str(descriptor))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        started.append(Process.start(Command("part", argv, tmp_path / "log", environment, pass_fds=(descriptor,))))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def answer(listener) -> int:
    """Return the process that answers, however long it takes."""
    return int(httpx.get(ports.url_of(listener), timeout=PATIENCE_SECONDS).text)


def test_a_part_serves_the_socket_that_only_it_is_handed(serve, listener, tmp_path):
    other = Process.start(Command("other", BYSTANDER, tmp_path / "other"))
    try:
        part = serve()
        assert answer(listener) == part.pid
        assert len(psutil.Process(part.pid).children()) == 1
        assert other.running()
        assert listening(psutil.Process(), ports.port_of(listener)) == {os.getpid(), part.pid}
    finally:
        other.stop()


def test_a_client_waits_from_one_server_to_the_next_and_nobody_takes_the_port(serve, listener):
    first = serve()
    assert answer(listener) == first.pid
    first.child.kill()
    first.child.wait()
    with pytest.raises(OSError, match="in use"):
        ports.listen(*listener.getsockname())
    with socket.create_connection(listener.getsockname(), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        second = serve()
        with http.client.HTTPResponse(client) as received:
            received.begin()
            assert int(received.read()) == second.pid


def test_the_port_is_the_servers_alone_once_its_parent_lets_go(serve, listener):
    part = serve()
    assert answer(listener) == part.pid
    address = listener.getsockname()
    listener.close()
    assert ports.answers(*address)
    part.stop()
    assert not ports.answers(*address)


def test_a_part_that_ends_before_it_serves_is_told_with_its_last_words(serve, listener):
    part = serve("broken")
    with pytest.raises(StackError, match=r"part exited with code 1 during its start\n(.*\n)*.*the database is away"):
        part.wait_until(lambda _pid: status_of(ports.url_of(listener)) == 200, PATIENCE_SECONDS)
