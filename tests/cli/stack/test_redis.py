import stat

import pytest
import redis

from cli.stack.process import Process
from cli.stack.redis import Redis
from tests.cli.stacks import PATIENCE_SECONDS


def test_what_was_written_survives_sigkill_and_the_password_is_needed(tmp_path, port):
    server = Redis(tmp_path / "with blank", port, "secret", tmp_path / "redis.log")
    server.prepare()
    assert stat.S_IMODE((server.folder / "redis.conf").stat().st_mode) == 0o600
    process = Process.start(server.command())
    process.wait_until(server.healthy, PATIENCE_SECONDS)
    with redis.Redis.from_url(server.url) as client:
        client.set("bell", "rung")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("bell")
    process.child.kill()
    process.child.wait()
    process = Process.start(server.command())
    process.wait_until(server.healthy, PATIENCE_SECONDS)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("bell") == b"rung"
    process.stop()
    assert process.child.returncode == 0
    assert not server.healthy(process.pid)
