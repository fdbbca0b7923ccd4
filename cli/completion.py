"""Words that a shell completes with what the API knows: quick, and silent where nobody answers."""

from __future__ import annotations

from cli.names import BEGINNING

PREFIX = "exp_"
MOST = 50
TIMEOUT_SECONDS = 1.0
"""A shell waits for it at every press of the key."""


def experiment_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return ids of experiments that begin so, newest first, each with name and state; nothing where no API answers."""
    if not (PREFIX.startswith(incomplete) or BEGINNING.fullmatch(incomplete)):
        return []
    from cli.errors import CommandError
    from cli.transport import Transport

    try:
        with Transport.connect(timeout=TIMEOUT_SECONDS) as client:
            beginning = incomplete if incomplete.startswith(PREFIX) else PREFIX
            found = client.get("/experiments", id=beginning, limit=MOST)["items"]
    except CommandError:
        return []
    return [(each["id"], f"{each['name']}, {each['state']}") for each in found]
