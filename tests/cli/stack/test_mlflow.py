"""The embedded MLflow answers its own names alone, and no page of another origin writes to it."""

from __future__ import annotations

import os

import httpx
import pytest

from cli.stack import ports
from cli.stack.mlflow import Mlflow
from tests.parts import running

pytestmark = [
    pytest.mark.long,  # `tests/cli/test_demo.py` tries one name and one page of another origin
    pytest.mark.timeout(600),  # the server loads for long where others compute: it lets them go first
]
CREATE = "/api/2.0/mlflow/experiments/create"


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """A client of a real server that has one more name, started where somebody had turned its checks off."""
    folder = tmp_path_factory.mktemp("mlflow")
    given = {"TWOSTREAM_ALLOWED_HOSTS": "gpu1.lab", "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true"}
    with ports.listen(ports.LOOPBACK, 0) as listener:
        part = Mlflow(folder, listener, f"sqlite:///{folder / 'store.db'}", {**os.environ, **given}, folder / "log")
        with running(part), httpx.Client(base_url=part.url, trust_env=False, timeout=240) as client:
            yield client


def test_foreign_names_pages_and_frames_are_refused(mlflow):
    own = mlflow.base_url.netloc.decode()
    for number, (host, status) in enumerate(
        [(own, 200), ("localhost:9000", 200), ("[::1]:5000", 200), ("gpu1.lab:5000", 200), ("evil.example", 403),
         ("10.evil.example", 403), ("192.168.evil.example:5000", 403), ("10.0.0.1", 403)]
    ):  # fmt: skip
        answer = mlflow.post(CREATE, json={"name": f"host-{number}"}, headers={"Host": host})
        assert answer.status_code == status, host
    for origin in ("http://evil.example", "null", "https://10.evil.example"):
        answer = mlflow.post(CREATE, json={"name": "foreign"}, headers={"Origin": origin})
        assert answer.status_code == 403, origin
    assert mlflow.get("/").headers["x-frame-options"] == "SAMEORIGIN"
