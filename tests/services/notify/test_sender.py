"""Notices wait in Postgres, are sent once they are due, tried again, and given up; whatever a channel does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import EventRow, NoticeRow
from services.errors import Cause
from services.notify import sender
from services.notify.command import Command
from services.notify.sender import Notifier
from services.notify.webhook import Undelivered, Webhook
from services.queue import edits, experiments
from services.settings import NOTICES, Settings
from tests.services.conftest import Decreed, result, small_spec, submit
from tests.services.notify.receiver import Receiver, receiving

SECRET = "a secret of sixteen"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def by_webhook(database: Database, receiver: Receiver, **options: Any) -> Notifier:
    kinds = options.pop("kinds", NOTICES)
    channels = {"webhook": Webhook(receiver.url, SECRET, seconds=0.5 if "hang" in receiver.statuses else 30)}
    return Notifier(database, channels, kinds, "http://host:1", **options)


def ended(database: Database, top1: float = 0.5, seed: int = 0) -> str:
    id_ = submit(database, small_spec(name=f"run {seed}", seeds=(seed,))).row.id
    worker = Decreed(database)
    worker.run_all(
        lambda claim: (
            worker.succeed(claim, results=[result("rgb", 1, seed, top1)])
            if claim.kind == "fuse"
            else worker.succeed(claim)
        )
    )
    return id_


def rows(database: Database, channel: str = "webhook") -> list[NoticeRow]:
    with database.transaction() as session:
        query = select(NoticeRow).where(NoticeRow.channel == channel)
        return list(session.scalars(query.order_by(NoticeRow.created_at)))


def make_due(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE notice SET next_at = clock_timestamp() WHERE next_at IS NOT NULL"))


def test_an_end_a_failure_and_a_new_best_are_told(database: Database, receiver: Receiver) -> None:
    first = ended(database, 0.5)
    second = ended(database, 0.75, seed=1)
    third = ended(database, 0.25, seed=2)
    failed = submit(database, small_spec(name="wrong", seeds=(3,))).row.id
    worker = Decreed(database)
    worker.fail(worker.claim_any(), Cause.DATA_ERROR, "x" * 5000)  # type: ignore[arg-type]
    cancelled = submit(database, small_spec(name="unwanted", seeds=(4,))).row.id
    database.run(lambda session: experiments.cancel(session, cancelled, LOCAL))
    by_webhook(database, receiver).turn()
    said = [json.loads(came.body) for came in receiver.came]
    assert [(each["kind"], each["experiment"]["id"], each["experiment"]["state"]) for each in said] == [
        ("end", first, "succeeded"),
        ("end", second, "succeeded"),
        ("best", second, "succeeded"),
        ("end", third, "succeeded"),
        ("failure", failed, "failed"),
        ("end", cancelled, "cancelled"),
    ]
    assert said[0]["results"] == {"rgb.1": 0.5}
    assert (said[0]["url"], said[0]["boards"]) == (f"http://host:1/experiments/{first}", [])
    [board] = said[2]["boards"]
    assert (board["stream"], board["split"], board["value"], board["before"]) == ("rgb", 1, 0.75, 0.5)
    assert said[4]["experiment"]["cause"] == "data_error"
    assert len(receiver.came[4].body) < 4000
    assert [came.headers["webhook-id"] for came in receiver.came] == [each["id"] for each in said]
    assert SECRET not in "".join(str(row.data) for row in rows(database))
    by_webhook(database, receiver).turn()
    assert len(receiver.came) == 6, "each is told once"


def test_only_what_is_wanted_is_told(database: Database, receiver: Receiver) -> None:
    ended(database)
    ended(database, 0.75, seed=1)
    by_webhook(database, receiver, kinds=("best",)).turn()
    assert [json.loads(came.body)["kind"] for came in receiver.came] == ["best"]


def test_what_is_withdrawn_leads_no_board(database: Database, receiver: Receiver) -> None:
    ended(database)
    id_ = submit(database, small_spec(seeds=(1,))).row.id
    database.run(lambda session: edits.withdraw(session, id_, "why", LOCAL))
    worker = Decreed(database)
    worker.run_all(
        lambda claim: (
            worker.succeed(claim, results=[result("rgb", 1, 1, 0.9)]) if claim.kind == "fuse" else worker.succeed(claim)
        )
    )
    assert [row.kind for row in rows(database)] == ["end", "end"]


@pytest.mark.parametrize("trouble", [500, 302, "hang", "nonsense"])
def test_what_is_not_taken_is_tried_again_later_with_the_same_id(
    database: Database, receiver: Receiver, trouble: int | str
) -> None:
    ended(database)
    receiver.statuses = [trouble, 200]
    notifier = by_webhook(database, receiver)
    notifier.turn()
    notifier.turn()
    assert len(receiver.came) == 1, "there is a pause"
    [row] = rows(database)
    assert row.next_at is not None
    assert timedelta(seconds=5) < row.next_at - row.created_at < timedelta(seconds=120)
    assert row.error
    make_due(database)
    notifier.turn()
    [row] = rows(database)
    assert (row.tries, row.error, row.next_at, row.delivered_at is not None) == (2, None, None, True)
    first, second = (came.headers["webhook-id"] for came in receiver.came)
    assert first == second == str(row.id)


def test_pauses_grow_and_end(database: Database, receiver: Receiver) -> None:
    ended(database)
    receiver.statuses = [503]
    notifier = by_webhook(database, receiver)
    pauses = []
    for _ in range(sender.MOST_TRIES):
        make_due(database)
        notifier.turn()
        with database.transaction() as session:
            query = text("SELECT extract(epoch FROM next_at - clock_timestamp()) FROM notice WHERE channel = 'webhook'")
            pauses.append(session.scalar(query))
    assert pauses[-1] is None, "given up"
    grown = [float(pause) for pause in pauses[:-1]]
    assert grown[0] < 10
    assert all(later > earlier for earlier, later in pairwise(grown[:8]))
    assert max(grown) <= sender.LAST_PAUSE_SECONDS
    make_due(database)
    notifier.turn()
    assert len(receiver.came) == sender.MOST_TRIES
    with database.transaction() as session:
        [event] = session.scalars(select(EventRow).where(EventRow.type == "notice.given_up"))
        assert (event.data["channel"], event.data["error"]) == ("webhook", "status 503")


def test_one_that_dies_while_it_sends_is_followed_by_another(database: Database, receiver: Receiver) -> None:
    class Dying:
        def send(self, id_: str, body: bytes) -> None:
            raise KeyboardInterrupt

    ended(database)
    with pytest.raises(KeyboardInterrupt):
        Notifier(database, {"webhook": Dying()}, NOTICES, "").turn()
    by_webhook(database, receiver).turn()
    assert receiver.came == [], "it is left to who took it for a while"
    make_due(database)
    by_webhook(database, receiver).turn()
    assert len(receiver.came) == 1


def test_what_nobody_is_to_be_told_is_dropped_and_old_ones_are_forgotten(database: Database) -> None:
    ended(database)
    nobody = Notifier(database, {}, NOTICES, "")
    nobody.turn()
    assert [row.next_at is None for row in rows(database)] == [False], "another API may tell"
    with database.transaction() as session:
        session.execute(text("UPDATE notice SET created_at = created_at - interval '11 minutes'"))
        session.execute(text("DELETE FROM chore"))
    nobody.turn()
    assert [(row.next_at, row.error) for row in rows(database)] == [(None, "nobody is to be told")]
    with database.transaction() as session:
        session.execute(text("UPDATE notice SET created_at = created_at - interval '31 days'"))
        session.execute(text("DELETE FROM chore"))
    nobody.turn()
    assert rows(database) == []


def test_what_ended_while_the_api_was_away_is_told_when_it_is_back(database: Database, receiver: Receiver) -> None:
    ended(database)
    with database.transaction() as session:
        session.execute(text("UPDATE notice SET created_at = created_at - interval '3 days'"))
    by_webhook(database, receiver, kinds=("end",)).turn()
    assert len(receiver.came) == 1
    said = {(row.channel, row.kind): row.error for row in [*rows(database), *rows(database, "command")]}
    assert said == {("webhook", "end"): None, ("command", "end"): "nobody is to be told"}


def test_a_command_gets_the_notice_and_none_of_our_secrets(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOSTREAM_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    program = "import os, sys; open(sys.argv[1], 'w').write(sys.stdin.read() + str(dict(os.environ)))"
    id_ = ended(database)
    command = Command([sys.executable, "-c", program, str(tmp_path / "told; rm -rf x")])
    Notifier(database, {"command": command}, NOTICES, "http://host:1").turn()
    said = (tmp_path / "told; rm -rf x").read_text()
    assert json.JSONDecoder().raw_decode(said)[0]["experiment"]["id"] == id_
    assert SECRET not in said
    [row] = rows(database, "command")
    assert row.delivered_at is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/at-all"], "/nowhere/at-all: No such file or directory"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended with code 3"),
        (["sleep", "60"], "sleep has not ended within 0.5 s"),
        (["sh", "-c", "sleep 60 & sleep 60"], "sh has not ended within 0.5 s"),
    ],
)
def test_a_command_that_does_not_end_well_is_told_of(arguments: list[str], words: str) -> None:
    with pytest.raises(Undelivered, match=words):
        Command(arguments, seconds=0.5).send("id-1", b"{}" * 100_000)


def test_channels_are_those_of_the_settings(database: Database) -> None:
    settings = Settings(
        webhook_url="http://127.0.0.1:1/x",  # type: ignore[arg-type]
        webhook_secret=SECRET,  # type: ignore[arg-type]
        webhook_networks="10.1.0.0/16",  # type: ignore[arg-type]
        notify_command=("true",),
    )
    channels: dict[str, Any] = dict(sender.notifier(settings, database)._channels)
    assert set(channels) == {"webhook", "command"}
    assert channels["webhook"].networks == settings.webhook_networks
    assert set(sender.notifier(Settings(), database)._channels) == set()
    assert SECRET not in repr(settings)
    assert "127.0.0.1:1" not in repr(settings)
