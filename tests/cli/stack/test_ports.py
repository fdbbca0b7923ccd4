from urllib.parse import urlsplit

import pytest

from cli.stack import ports


def test_a_free_port_is_reserved_and_a_taken_one_gives_way_to_its_neighbour():
    with ports.listen("127.0.0.1", 0) as server:
        taken = ports.port_of(server)
        assert ports.answers("127.0.0.1", taken)
        with pytest.raises(OSError, match="in use"):
            ports.listen("127.0.0.1", taken)
        with ports.reserve(taken) as first, ports.reserve(taken) as second:
            assert len({taken, ports.port_of(first), ports.port_of(second)}) == 3


def test_a_port_that_is_free_is_the_one(port):
    with ports.reserve(port) as listener:
        assert ports.port_of(listener) == port
        assert ports.is_taken(port)


def test_when_every_neighbour_is_taken_the_system_chooses():
    with (
        ports.listen("127.0.0.1", 0) as server,
        ports.reserve(ports.port_of(server), neighbours=1) as other,
    ):
        assert ports.port_of(other) not in {0, ports.port_of(server)}


def test_nobody_answers_where_nobody_listens(port):
    assert not ports.answers(ports.LOOPBACK, port)


@pytest.mark.parametrize(
    ("host", "named"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
def test_the_address_of_a_socket_is_one_that_clients_here_can_use(host, named):
    try:
        server = ports.listen(host, 0)
    except OSError as error:
        pytest.skip(f"no {host} on this machine: {error}")
    with server:
        url = ports.url_of(server)
        assert url == f"http://{named}:{ports.port_of(server)}"
        parts = urlsplit(url)
        assert ports.answers(str(parts.hostname), int(parts.port or 0))
