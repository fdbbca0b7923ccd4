"""HTTP/1.1 by uvicorn, for clients that keep connections open without a word, or send what is no HTTP.

uvicorn ends a connection that is idle between two requests. Half a request, half a body, or an answer that nobody reads
it waits for without limit, and each bad request leaves a line in the log.
"""

from __future__ import annotations

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
CLIENTS_FAULTS = (
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "No supported WebSocket library",
    "socket.send() raised exception.",
)
LOGGERS = ("uvicorn.error", "asyncio")


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with a limit on every wait for the client.

    Attributes:
        head_seconds: from the connection, or the first byte of a further request, to the end of its headers.
        body_seconds: between two parts of a body; how long all of it may take is for the application to say.
        answered_seconds: for the rest of a body whose request is answered already.
        unread_seconds: without the client reading anything of an answer that waits.
    """

    head_seconds, body_seconds, answered_seconds, unread_seconds = 10.0, 30.0, 5.0, 60.0
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _awaited = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new client its time for the first request."""
        super().connection_made(transport)
        self._await_client("head", self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what is missing now."""
        super().data_received(data)
        self._look(came=True)

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
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:  # this was its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _look(self, *, came: bool) -> None:
        """Set the time for what the client is to send next.

        Args:
            came: whether the client has just sent something.
        """
        if self.transport.is_closing() or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._await_client("", 0.0)
        elif self.conn.their_state is h11.SEND_BODY:
            answered = self.cycle is not None and self.cycle.response_complete
            self._await_client(
                "rest" if answered else "body", self.answered_seconds if answered else self.body_seconds, again=True
            )
        elif came or self._awaited != "head":  # between two requests uvicorn's own time counts, until a byte comes
            self._await_client("head" if came else "", self.head_seconds)

    def _await_client(self, what: str, seconds: float, *, again: bool = False) -> None:
        """Wait for something; what is waited for already keeps its time, unless it counts from each part ``again``."""
        if what == self._awaited and (not again or what == "rest"):
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._awaited = what
        self._waiting = self.loop.call_later(seconds, self._give_up) if what else None

    def _give_up(self) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and self._awaited == "head" and self._begun():
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def _begun(self) -> bool:
        """Say whether a part of a request has come."""
        return bool(self.conn.trailing_data[0])


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
