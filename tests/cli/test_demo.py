import pytest

from cli import demo
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


def test_an_experiment_goes_from_post_to_the_leaderboard_and_to_mlflow(home, monkeypatch, capsys):
    monkeypatch.delenv("TWOSTREAM_API_URL", raising=False)
    monkeypatch.setenv("TWOSTREAM_HOME", str(home.path))
    patience = {"start_seconds": PATIENCE_SECONDS, "mlflow_seconds": PATIENCE_SECONDS}
    assert demo.Demo(json=False, submissions=[SMALL], **patience).run() == 0
    out, err = capsys.readouterr()
    assert "twostream is up in" in err
    assert "twostream is down" in err
    assert "): succeeded" in out
    assert "MLflow       http://127.0.0.1:" in out
    tree = out[out.index("\nrun ") :].splitlines()[1:]
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
