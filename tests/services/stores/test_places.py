"""What stores of either sort share: whose a file is, and how an error is worded."""

from __future__ import annotations

from errno import ENOSPC

import pytest

from services.errors import Denied, Unavailable
from services.stores.places import asking, by_attempt

KEY = "ab" * 32
ROOT = f"stages/ab/{KEY}"


def test_files_are_told_by_their_attempt_and_name() -> None:
    paths = [f"{ROOT}/2/state/b", f"{ROOT}/1/state/deep/a", f"{ROOT}/1/state/.c.7.tmp", f"{ROOT}/1/output/d", "stray"]
    assert by_attempt(paths, KEY, "state") == {1: ["deep/a"], 2: ["b"]}
    assert by_attempt(paths, "cd" * 32, "state") == {}


@pytest.mark.parametrize(
    ("error", "denied"),
    [
        (FileNotFoundError("gone"), True),
        (PermissionError("locked"), True),
        (OSError(ENOSPC, "no room"), True),
        (OSError("away"), False),
        (ConnectionError("away"), False),
    ],
)
def test_what_a_store_answers_is_denied_and_what_it_does_not_is_unavailable(error: OSError, denied: bool) -> None:
    with (
        pytest.raises(Unavailable, match="artifact store at here: there: ") as caught,
        asking("here", OSError, "there"),
    ):
        raise error
    assert isinstance(caught.value, Denied) == denied


def test_what_no_store_raises_passes() -> None:
    with pytest.raises(ZeroDivisionError), asking("x", OSError):
        raise ZeroDivisionError
