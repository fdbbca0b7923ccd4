"""What goes out, signed; what comes back, or does not; and where nothing goes at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Iterator

import pytest

from services.notify import addresses
from services.notify.addresses import is_allowed
from services.notify.webhook import Undelivered, Webhook, signature
from tests.services.notify.receiver import Receiver, receiving

SECRET = "a secret of sixteen"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_body_is_signed_with_its_id_and_the_time(receiver: Receiver) -> None:
    before = int(time.time())
    Webhook(receiver.url, SECRET).send("id-1", b'{"a": 1}')
    [came] = receiver.came
    assert (came.path, came.body, came.headers["content-type"]) == ("/hook", b'{"a": 1}', "application/json")
    seconds = came.headers["webhook-timestamp"]
    assert before <= int(seconds) <= time.time()
    signed = f'id-1.{seconds}.{{"a": 1}}'.encode()
    own = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert came.headers["webhook-signature"] == f"v1,{own}"
    assert SECRET not in str(came)


def test_the_example_of_the_standard() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of standard-webhooks' own tests
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "status 500"),
        (404, "status 404"),
        (302, "status 302: redirects are not followed"),
        (307, "redirects are not followed"),
        ("hang", "no answer within 0.5 s"),
        ("dribble", "no answer within 0.5 s"),
        ("nonsense", "RemoteProtocolError"),
    ],
)
def test_who_does_not_take_it_is_told_of(receiver: Receiver, status: int | str, words: str) -> None:
    receiver.statuses = [status]
    begun = time.monotonic()
    with pytest.raises(Undelivered, match=words) as caught:
        Webhook(receiver.url, SECRET, seconds=0.5 if status in ("hang", "dribble") else 30).send("id-1", b"{}")
    assert time.monotonic() - begun < 30
    assert [came.path for came in receiver.came] == ["/hook"]
    assert receiver.url not in str(caught.value)


def test_nobody_there_is_told_of(port: int) -> None:
    with pytest.raises(Undelivered, match="ConnectError"):
        Webhook(f"http://127.0.0.1:{port}/secret-path", SECRET).send("id-1", b"{}")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("::10.0.0.1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("100:0:0:1::1", False),
        ("192.0.0.8", False),
        ("192.88.99.1", False),
    ],
)
def test_private_addresses_are_refused(address: str, allowed: bool) -> None:
    assert is_allowed(address) is allowed


NETWORKS = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/64"))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00:1::5", True),
        ("127.0.0.1", True),
        ("1.1.1.1", True),
        ("10.2.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("fd00:1:0:1::5", False),
        ("2002:a01:203::", False),
        ("64:ff9b::a01:203", False),
        ("0.0.0.0", False),
    ],
)
def test_named_networks_are_allowed_and_no_other(address: str, allowed: bool) -> None:
    assert is_allowed(address, NETWORKS) is allowed


def test_a_refusal_names_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name leads to is looked at, and not the name: inside one moment and outside the next."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.2.0.1", 80))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)
    words = (
        r"hooks.example leads to 10\.2\.0\.1, allowed: addresses of the internet, loopback, and of 10\.1\.0\.0/16, fd"
    )
    with pytest.raises(Undelivered, match=words):
        Webhook("http://hooks.example/", SECRET, networks=NETWORKS).send("id-1", b"{}")


def test_an_address_of_a_named_network_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    connected: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = ["10.1.2.3", "10.2.0.1"][len(asked) - 1]  # the second time one outside: DNS rebinding
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def note(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", note)
    with pytest.raises(Undelivered, match="nobody there"):
        Webhook("http://hooks.example/", SECRET, networks=NETWORKS).send("id-1", b"{}")
    assert (asked, connected) == (["hooks.example"], ["10.1.2.3"])


def test_a_redirect_out_of_a_named_network_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [302]
    with pytest.raises(Undelivered, match="redirects are not followed"):
        Webhook(receiver.url, SECRET, networks=NETWORKS).send("id-1", b"{}")
    assert [came.path for came in receiver.came] == ["/hook"]


@pytest.mark.parametrize("host", ["10.0.0.1", "[fc00::1]", "[::ffff:a00:1]", "0x0a000001", "167772161", "10.1"])
def test_no_way_of_writing_one_leads_there(host: str) -> None:
    with pytest.raises(Undelivered, match=r"Refused: .* leads to "):
        Webhook(f"http://{host}:9/", SECRET, seconds=5).send("id-1", b"{}")


def test_a_name_is_asked_once_and_that_address_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]  # the second time another one: DNS rebinding
    asked: list[str] = []
    connected: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[len(asked) - 1]]

    connect = socket.create_connection

    def note(address: tuple[str, int], *arguments: object, **options: object) -> socket.socket:
        connected.append(address[0])
        monkeypatch.undo()
        return connect(address, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", note)
    Webhook(receiver.url.replace("127.0.0.1", "hooks.example"), SECRET).send("id-1", b"{}")
    assert (asked, connected) == (["hooks.example"], ["127.0.0.1"])
    assert receiver.came[0].headers["host"].startswith("hooks.example:")


def test_one_private_address_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("127.0.0.1", "192.168.0.1")]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Undelivered, match=r"hooks.example leads to 192\.168\.0\.1, allowed: "):
        Webhook("http://hooks.example/", SECRET).send("id-1", b"{}")


def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    Webhook(receiver.url, SECRET).send("id-1", b"{}")
    assert len(receiver.came) == 1
