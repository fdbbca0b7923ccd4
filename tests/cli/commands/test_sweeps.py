"""`sweep`: its first word is a file, or what is to be done with one that was begun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from services.db.tables import SweepRow

EXAMPLE = str(Path(__file__).parents[3] / "experiments" / "sweep.yaml")


@pytest.fixture
def begun(twostream) -> str:
    code, out, _ = twostream("sweep", EXAMPLE, "--idempotency-key", "once")
    assert code == 0, out
    return out.strip()


def test_a_sweep_is_begun_once_shown_listed_and_cancelled(twostream, begun, database):
    assert json.loads(twostream("sweep", "submit", EXAMPLE, "--idempotency-key", "once", "--json")[1])["id"] == begun
    code, out, _ = twostream("sweep", "show", begun[:16])
    assert (code, "TS-LSTM, searched" in out, "trials" in out) == (0, True, True)
    assert begun in twostream("sweep", "list", "--dataset", "motion_shapes")[1]
    found = json.loads(twostream("sweep", "show", begun, "--json")[1])
    assert (found["planned"], found["recipe"]) == (20, "demo_ts_lstm")
    assert twostream("sweep", "cancel", begun)[1].strip() == f"{begun}  cancelling"
    with database.transaction() as session:
        session.execute(update(SweepRow).values(state="cancelled"))
    code, out, _ = twostream("sweep", "watch", begun)
    assert (code, f"({begun}): cancelled" in out, f"/sweeps/{begun}" in out) == (1, True, True)
    assert twostream("sweep", "cancel", begun)[0] == 4


def test_a_dry_run_says_what_it_would_try_and_begins_nothing(twostream):
    before = json.loads(twostream("sweep", "list", "--json")[1])["total"]
    code, out, err = twostream("sweep", EXAMPLE, "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("TS-LSTM, searched: a dry run, nothing is begun\n20 trials at the most")
    for words in ("space", "model.segments", "TS-LSTM, searched, trial 0", "TS-LSTM, searched, best", "shared by all"):
        assert words in out
    found = json.loads(twostream("sweep", EXAMPLE, "--dry-run", "--json")[1])
    assert (found["trials"], found["planned"]) == (20, 20)
    assert json.loads(twostream("sweep", "list", "--json")[1])["total"] == before
    assert twostream("sweep", EXAMPLE, "--dry-run", "--watch")[0] == 2


def test_errors_name_what_is_wrong(twostream, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("experiment: {recipe: demo_ts_lstm}\nspace: {model.segmnts: {choices: [1]}}\n")
    code, _, error = twostream("sweep", str(wrong))
    assert (code, "space.model.segmnts" in error, "model.segments" in error) == (2, True, True)
    assert twostream("sweep", "show", "exp_1")[0] == 2
    code, _, error = twostream("sweep", "show", "swp_ffff")
    assert (code, "hint: twostream sweep list" in error) == (3, True)
    assert twostream("sweep", "nothing.yaml")[0] == 2
    assert "sweep SPEC.yaml" in twostream("sweep", "--help")[1]
