"""Clients that stall, vanish or send what is no HTTP: an end to every wait, and no line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from cli.stack import ports, protocol
from cli.stack.serve import Server
from tests.cli.stacks import PATIENCE_SECONDS, until

HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
SHORT = 0.3


async def application(scope, receive, send):
    """Answer with the size of the body; at `/stream` without end, at `/early` before the body is there."""
    if scope["type"] != "http":
        return
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    gone = asyncio.ensure_future(receive())
    while scope["path"] == "/stream" and not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)
    gone.cancel()
    await send({"type": "http.response.body", "body": str(size).encode()})


class Impatient(protocol.PatientProtocol):
    """Gives clients little time."""

    head_seconds = body_seconds = answered_seconds = unread_seconds = SHORT


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server in a thread, for all tests: its end takes a while."""
    config = uvicorn.Config(
        application, http=Impatient, lifespan="off", log_config=None, ws="none", timeout_keep_alive=1
    )
    running = Server(config)
    protocol.quiet()
    with ports.listen(ports.LOOPBACK, 0) as listener:
        running.address = listener.getsockname()
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: running.started, "the server runs")
        yield running
        running.should_exit = running.force_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], socket.socket]]:
    """A function that connects to the server."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(server.address, timeout=PATIENCE_SECONDS))


def rest_of(client: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


SAYS_NO_MORE = (
    (b"", b""),
    (b"G", b"HTTP/1.1 408 "),
    (HEAD, b"HTTP/1.1 408 "),
    (HEAD + b"content-length: 9\r\n\r\n1234", b""),
    (HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n", b""),
    (b"POST /early HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\n1", b"HTTP/1.1 200 "),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", b"HTTP/1.1 200 "),
)
"""What is sent on a connection, and how the answer to it begins."""


def test_a_connection_that_says_no_more_is_ended(connect, server):
    clients = [(connect(), *case) for case in SAYS_NO_MORE]
    for client, sent, _ in clients:
        client.sendall(sent)
    for client, sent, answer in clients:
        assert rest_of(client).startswith(answer), sent
    until(lambda: not server.server_state.connections and not server.server_state.tasks, "nothing is left of them")


@pytest.mark.parametrize("sent", [HEAD, b"POST /early HTTP/1.1\r\nHost: x\r\ncontent-length: 99999\r\n\r\n"])
def test_dripping_bytes_buy_no_time(connect, sent):
    client = connect()
    client.sendall(sent)
    with contextlib.suppress(OSError):  # until it is ended
        for number in range(1_000):  # noqa: B007 - asked below
            client.sendall(b"x: 1\r\n" if sent == HEAD else b"x")
            time.sleep(SHORT / 10)
    assert number < 999


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nfield: " + b"x" * 70_000,
        b"GET /" + b"x" * 70_000,
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n1",
    ],
)
def test_what_can_be_read_in_two_ways_or_has_no_end_is_refused(connect, sent):
    client = connect()
    client.sendall(sent)
    assert rest_of(client).startswith(b"HTTP/1.1 400 ")


def test_blank_lines_between_requests_buy_no_time(connect, server):
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    with contextlib.suppress(OSError):
        for number in range(1_000):  # noqa: B007 - asked below
            client.sendall(b"\r\n")
            time.sleep(SHORT / 10)
    assert number < 999


def test_many_half_requests_are_all_ended(connect, server):
    clients = [connect() for _ in range(200)]
    for client in clients:
        client.sendall(HEAD)
    until(lambda: not server.server_state.connections, "all are ended")


def test_an_answer_that_nobody_reads_is_given_up(connect, server):
    client = connect()
    client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: server.server_state.tasks, "it is answered")
    until(lambda: not server.server_state.connections, "it is given up")


def test_a_body_that_comes_slowly_and_further_requests_are_answered(connect):
    client = connect()
    for _ in range(2):
        client.sendall(HEAD + b"content-length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(SHORT / 4)
            client.sendall(b"x")
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += client.recv(65536)
        assert answer.endswith(b"\r\n8\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /early HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\nzz\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"content-length: 9\r\n\r\n1",
        b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_bad_requests_and_vanished_clients_leave_no_line(connect, server, sent, caplog):
    with caplog.at_level(logging.INFO):
        for linger in (b"\0" * 8, b"\1\0\0\0\0\0\0\0"):  # the second ends with a reset
            client = connect()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.sendall(sent)
            with contextlib.suppress(OSError):
                client.recv(1)
            client.close()
        until(lambda: not server.server_state.connections and not server.server_state.tasks, "they are gone")
    assert [record.getMessage() for record in caplog.records if record.name in ("uvicorn.error", "asyncio")] == []
