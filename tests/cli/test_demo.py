import json
import os
import re
import socket
from pathlib import Path

import httpx
import psycopg
import pytest

from cli import demo
from cli.stack.home import Home
from cli.target import stack_addresses
from services import foreign
from services.datasets.motion_shapes import MotionShapesParams
from tests.cli.pages import Shell, masked, renewed
from tests.cli.stacks import PATIENCE_SECONDS

SMALL = {
    "name": "small",
    "dataset": "motion_shapes",
    "splits": [1],
    "streams": ["rgb"],
    "model": {"kind": "mean_pooling"},
    "backbone": {"name": "tiny", "finetune": None},
    "training": {"epochs": 1},
    "evaluation": {"frames": 2},
}

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(600)]


THEIRS = {
    "PGSSLMODE": "require",
    "PGSERVICE": "lab",
    "PGOPTIONS": "-c statement_timeout=1",
    "PGUSER": "lab",
    **dict.fromkeys(("CELERY_BROKER_URL", "BROKER_URL", "CELERY_RESULT_BACKEND"), "redis://broker.example:1/0"),
    **dict.fromkeys(("CELERY_LOADER", "LOADER", "CELERY_CONFIG_MODULE", "CONFIG_MODULE"), "nowhere.theirs"),
    "CELERY_WORKER_POOL": "solo",
    "CELERY_WORKER_QUEUES": "theirs",
    "MLFLOW_TRACKING_URI": "http://mlflow.example",
    "MLFLOW_TRACKING_AUTH": "theirs",
    "MLFLOW_RUN_ID": "theirs",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node.example",
    "MASTER_PORT": "1",
    "LC_ALL": "C",
    "TZ": "Asia/Kolkata",
    "WEB_CONCURRENCY": "4",
    "GIT_DIR": "/theirs",
}
"""What else a user's shell, their job or their cluster may set: for other servers and programs than ours."""
PAGE = Path(__file__).parents[2] / "docs" / "manners.md"
FEW = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=30)
"""Clips that are made in no time; a page's mask takes their number for any other."""


class Shown(demo.Demo):
    """A demo on few clips that types the commands of a page while its stack is up."""

    home: Home
    folder: Path
    page: str

    def _train(self) -> int:
        state = self.home.read_state()
        assert state is not None
        foreign.forget(foreign.POSTGRES)  # of this process, whose own look at the database is a test's
        with psycopg.connect(state.addresses["database"].replace("+psycopg", "", 1)) as connection:
            connection.execute("UPDATE dataset SET generator = %s", [FEW.model_dump_json()])
        code = super()._train()
        for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            url = f"{state.addresses['mlflow']}/api/2.0/mlflow/experiments/create"
            assert httpx.post(url, json={"name": "foreign"}, headers=header, trust_env=False).status_code == 403
        words = {
            stack_addresses()["api"]: "http://127.0.0.1:8080",
            (host := socket.gethostname()): "host".ljust(len(host)),
        }
        self.page = renewed(PAGE.read_text(), Shell(self.folder, words))
        return code


def test_an_experiment_goes_from_post_to_the_leaderboard_and_to_mlflow(home, monkeypatch, capsys, tmp_path):
    notices = tmp_path / "notices"
    for name, value in THEIRS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TWOSTREAM_API_URL", raising=False)
    monkeypatch.setenv("TWOSTREAM_HOME", str(home.path))
    monkeypatch.setenv("TWOSTREAM_QUOTAS", '{"*": {"stages": 1, "share": 1}}')
    monkeypatch.setenv("TWOSTREAM_NOTIFY_COMMAND", json.dumps(["sh", "-c", 'cat >> "$0"; echo >> "$0"', str(notices)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    patience = {"start_seconds": PATIENCE_SECONDS, "mlflow_seconds": PATIENCE_SECONDS}
    shown = Shown(json=False, submissions=[SMALL], **patience)
    shown.home, shown.folder = home, tmp_path
    assert shown.run() == 0
    if os.environ.get("RENEW"):
        PAGE.write_text(shown.page)
    assert masked(shown.page) == masked(PAGE.read_text()), "hint: RENEW=1 writes the page anew"
    out, err = capsys.readouterr()
    assert "twostream is up in" in err
    assert "twostream is down" in err
    assert err.index(f"databases of about 80 MB are made below {home.path}") < err.index("postgres ready after")
    assert out.startswith(f"400 clips (28 MB) are made below {home.path}; nothing is downloaded\n")
    assert re.search(rf"^to see it again: twostream up, .* MB lie in {home.path}$", out, re.MULTILINE)
    assert "): succeeded" in out
    assert "MLflow       http://127.0.0.1:" in out
    tree = out[out.index("\nrun ") :].splitlines()[1:-1]
    assert "  small  finished" in tree[0]
    assert [
        kind for kind in ("index", "extract", "train", "score", "fuse") if any(kind in line for line in tree[1:])
    ] == [
        "index",
        "extract",
        "train",
        "score",
        "fuse",
    ]
    assert not home.is_up()


@pytest.mark.long
def test_it_trains_and_ranks_without_an_mlflow(home, monkeypatch, capsys):
    (home.path / "mlflow").touch()  # where its folder is to be: it never starts
    monkeypatch.delenv("TWOSTREAM_API_URL", raising=False)
    monkeypatch.setenv("TWOSTREAM_HOME", str(home.path))
    patience = {"start_seconds": PATIENCE_SECONDS, "mlflow_seconds": 1.0}
    assert demo.Demo(json=False, submissions=[SMALL], **patience).run() == 0
    out, err = capsys.readouterr()
    assert "File exists" in err
    assert not [line for line in err.splitlines() if "mlflow" in line and "ready after" in line]
    assert "does not have every run yet" in err
    assert "): succeeded" in out
