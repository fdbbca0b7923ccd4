"""Pictures from the command line."""

from __future__ import annotations

import json

import yaml

from services.queue import attempts
from services.queue.attempts import Fact
from services.stores.folder import FolderStore
from tests.api.conftest import SPEC
from tests.services.conftest import Decreed
from tests.services.pictured import CLIPS, Leaver


def test_a_figure_is_listed_written_and_refused(twostream, database, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(SPEC | {"seeds": [83]}))
    made = twostream("submit", str(file))[1].strip()
    assert "no epoch has ended yet" in twostream("figure", made)[1]
    worker = Decreed(database)
    while (claim := worker.claim_any()) is not None:
        if claim.kind == "train":
            with database.transaction() as session:
                told = Fact("metrics", 1, {"step": 1, "values": {"train_loss": 2.0, "train_accuracy": 0.25}})
                attempts.record(session, claim.key, claim.attempt, [told])
        worker.succeed(claim)
    listed = json.loads(twostream("figure", made, "--json")[1])
    assert [each["name"] for each in listed if each["available"]] == ["learning"]
    picture = tmp_path / "curves.svg"
    code, out, _ = twostream("figure", made, "learning", "-o", str(picture), "--split", "1", "--theme", "dark")
    assert (code, out.strip()) == (0, str(picture))
    assert b"<svg" in picture.read_bytes()
    code, _, error = twostream("figure", made, "confusion", "-o", str(tmp_path / "none.png"))
    assert code == 3
    assert "`fuse` stages have ended" in error
    assert not (tmp_path / "none.png").exists()
    code, _, error = twostream("figure", made, "learning", "-o", "curves.gif")
    assert code == 2
    assert ".svg or .png or .webp" in error


def test_a_picture_of_a_clip_and_its_film(twostream, database, api_home, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(SPEC | {"seeds": [84], "model": {"kind": "conv_alstm"}}))
    made = twostream("submit", str(file))[1].strip()
    Leaver(database, FolderStore(api_home / "artifacts"), tmp_path / "left").run_all()
    film = tmp_path / "film.webp"
    assert twostream("figure", made, "attention", "--clip", CLIPS[1], "-o", str(film))[0] == 0
    assert film.read_bytes()[8:12] == b"WEBP"
    code, _, error = twostream("figure", made, "attention", "--clip", "nobody", "-o", str(film))
    assert code == 2
    assert f"clip: got 'nobody', allowed: {CLIPS[0]}" in error
    code, _, error = twostream("figure", made, "memory")
    assert code == 3
    assert "those that do: memory" in error
