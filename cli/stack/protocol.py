"""HTTP/1.1 by uvicorn, for clients that keep connections open without a word, or send what is no HTTP.

uvicorn ends a connection that is idle between two requests. Half a request, half a body, or an answer that nobody reads
it waits for without limit, and each bad request leaves a line in the log.
"""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
CLIENTS_FAULTS = (
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "No supported WebSocket library",
    "socket.send() raised exception.",
)
LOGGERS = ("uvicorn.error", "asyncio")


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on every wait for the client, and on what it may send as headers.

    Attributes:
        head_bytes: of a request's line and headers.
        head_seconds: from the connection, or the first byte of a further request, to the end of its headers.
        body_seconds: between two parts of a body; how long all of it may take is for the application to say.
        answered_seconds: for the rest of a body whose request is answered already.
        unread_seconds: without the client reading anything of an answer that waits.
    """

    head_bytes = 65536
    head_seconds, body_seconds, answered_seconds, unread_seconds = 10.0, 30.0, 5.0, 60.0
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _awaited = ""
    _part = ""
    """Of a request, which has begun to come and is not complete: head or body."""
    _head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new client its time for the first request."""
        super().connection_made(transport)
        self._await_client("head", self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what is missing now."""
        super().data_received(data)
        self._head_size = self._head_size + len(data) if self._part == "head" else 0
        if self._head_size > self.head_bytes and not self.transport.is_closing():
            self.send_400_response("The headers are too long.")
        self._look(came=True)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._part = "head"

    def on_headers_complete(self) -> None:
        """Begin to answer, unless it is not clear to whom the request goes (RFC 9112, sec. 3.2)."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise ValueError("a request names one host")  # the parser makes a bad request of it
        self._part = "body"
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request has come as a whole."""
        super().on_message_complete()
        self._part = ""

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait a little for the rest of this one."""
        super().on_response_complete()
        self._look(came=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        for timer in (self._waiting, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that reads nothing its time."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        """Say that it is no HTTP, where an answer has not begun already."""
        if self._idle or not self.cycle.response_started:
            super().send_400_response(msg)
        else:
            self.transport.close()
        if not self._idle:  # this was its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _idle(self) -> bool:
        """Whether no request waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _look(self, *, came: bool) -> None:
        """Set the time for what the client is to send next.

        Args:
            came: whether the client has just sent something.
        """
        if self.transport.is_closing():
            self._await_client("", 0.0)
        elif self._part == "body":
            what, seconds = ("rest", self.answered_seconds) if self._idle else ("body", self.body_seconds)
            self._await_client(what, seconds, again=True)
        elif self._part == "head" or (self._idle and came):
            self._await_client("head", self.head_seconds)
        else:  # it is answered, or uvicorn's own time between two requests counts until a byte comes
            self._await_client("", 0.0)

    def _await_client(self, what: str, seconds: float, *, again: bool = False) -> None:
        """Wait for something; what is waited for already keeps its time, unless it counts from each part ``again``."""
        if what == self._awaited and (not again or what == "rest"):
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._awaited = what
        self._waiting = self.loop.call_later(seconds, self._give_up) if what else None

    def _give_up(self) -> None:
        if self._awaited == "head" and self._part == "head" and self._idle:
            self.transport.write(TIMED_OUT)
        self.transport.close()


class ClientsFaults(logging.Filter):
    """Drops what clients alone can answer for, and the traces of requests that a stop has cut short."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line goes to the log."""
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False
        return not str(record.msg).startswith(CLIENTS_FAULTS)


def quiet() -> None:
    """Keep the faults of clients out of the log."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(ClientsFaults())
