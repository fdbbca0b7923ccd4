"""Files of weights that a spec names are looked at when it is submitted, as far as they are here."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from services.errors import InvalidRequest
from services.planning.plan import plan
from services.specs import ExperimentSpec
from tests.services.planning.test_plan import INDEX, spec

WEIGHTS = [
    ("backbone.weights", {"backbone": {"name": "tiny", "weights": "{path}"}}),
    ("flow_stream.backbone.weights", {"flow_stream": {"backbone": {"name": "tiny", "weights": "{path}"}}}),
    ("flow.weights", {"flow": {"algorithm": "raft", "weights": "{path}"}}),
]


def with_weights(changes: dict[str, object], path: object) -> ExperimentSpec:
    written = json.dumps({"fusion": {"method": "probabilities"}} | changes).replace('"{path}"', json.dumps(str(path)))
    return spec(**json.loads(written))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("field", "changes"), WEIGHTS)
def test_a_file_of_weights_that_cannot_be_one_is_missed_at_submission(
    field: str, changes: dict[str, object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    wrong = [tmp_path / name for name in ("missing.pt", "pipe", "empty", "nowhere", "huge")]
    for path in (*wrong, tmp_path, "/dev/zero", "weights.pt", "imagnet", "/a\0b"):
        with pytest.raises(InvalidRequest, match=rf"^{field}: got .*, allowed: ") as caught:
            plan(with_weights(changes, path), INDEX)
        assert caught.value.field == field


@pytest.mark.parametrize(("field", "changes"), WEIGHTS)
def test_a_folder_that_only_the_workers_have_is_left_to_them(
    field: str, changes: dict[str, object], tmp_path: Path
) -> None:
    away = plan(with_weights(changes, tmp_path / "away" / "weights.pt"), INDEX)
    (tmp_path / "weights.pt").write_bytes(b"here")
    here = plan(with_weights(changes, tmp_path / "weights.pt"), INDEX)
    assert [stage.label for stage in away] == [stage.label for stage in here]
    assert hashlib.sha256(b"here").hexdigest() in str([stage.spec for stage in here])
