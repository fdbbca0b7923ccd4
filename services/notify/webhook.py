"""A signed webhook, as Standard Webhooks have it (https://www.standardwebhooks.com): one POST, no redirect followed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass

import httpcore

from services.notify.addresses import CheckedBackend, Refused
from services.settings import Network

PREFIX = "whsec_"
"""Of secrets in base64, as these webhooks have them; any other secret is taken as it is."""
SECONDS = 10.0
"""From the connection to the head of the answer."""


class Undelivered(Exception):
    """Nobody was told; the message says why, without address and secret."""


@dataclass(frozen=True)
class Webhook:
    """Where notices go.

    Attributes:
        url: which may hold a secret in its path, and is shown to nobody.
        secret: signs each body together with its id and the time.
        seconds: from the connection to the head of the answer; the rest of an answer is not read.
        networks: private ones where it may be.
    """

    url: str
    secret: str
    seconds: float = SECONDS
    networks: tuple[Network, ...] = ()

    def send(self, id_: str, body: bytes) -> None:
        """Send a notice; sent again it has the same id.

        Raises:
            Undelivered: it was not taken with a status of 200 to 299 in time.
        """
        signed = signature(self.secret, id_, int(time.time()), body)
        headers = [("content-type", "application/json"), ("user-agent", "twostream"), *signed.items()]
        context = ssl.create_default_context() if self.url.startswith("https") else None  # it takes long to load
        backend = CheckedBackend(time.monotonic() + self.seconds, self.networks)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
                pool.stream("POST", self.url, headers=headers, content=body) as answer,
            ):
                status = answer.status
        except httpcore.TimeoutException as error:
            raise Undelivered(f"no answer within {self.seconds:g} s") from error
        except (Refused, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise Undelivered(f"{type(error).__name__}: {error}"[:500]) from error
        if 300 <= status < 400:
            raise Undelivered(f"status {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise Undelivered(f"status {status}")


def signature(secret: str, id_: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows that a body is ours, and of now.

    The signature is the HMAC-SHA256 of ``id.seconds.body`` in base64.
    """
    signed = b".".join((id_.encode(), str(seconds).encode(), body))
    made = base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()
    return {"webhook-id": id_, "webhook-timestamp": str(seconds), "webhook-signature": f"v1,{made}"}


def _key(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()
