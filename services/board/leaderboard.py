"""Ranks measured results; it reads their rows alone and mixes neither protocols nor revisions of a dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from services import revisions
from services.board import groups, network, withdrawal
from services.board.choice import Count, Ranked, SelectedOnTest, choose, value_of
from services.board.cursor import ALLOWED, Cursor
from services.board.entries import Entries, Filters
from services.board.kept import Kept, Memory, Section
from services.board.protocol import VARIABLE
from services.board.withdrawal import Withdrawn
from services.errors import AlteredCursor, InvalidRequest, NotFound
from services.metrics import METRICS, PRIMARY

STREAMS = ("rgb", "flow", "two-stream")
ALL = Filters()
SECTION = groups.MOST
"""Places within which groups are formed: the first five hundred, the next, and so on."""


@dataclass(frozen=True)
class Standing:
    """One experiment's place: its value, and the numbers of the single splits behind a mean.

    Attributes:
        group: rank of the best entry from which a paired test does not tell this one; None where that is not known.
        options: of the network, where they differ from the defaults of its kind.
        label: kind and options in words.
        spread: deviation over seeds; of a mean over splits that of each seed's own mean.
        split_spread: deviation of the values of the splits behind a mean, which says nothing of chance alone.
        selected_on_test: whether the epoch of some training was chosen on the test list.
        varied: its own value of each field of protocols across which the board ranks.
    """

    rank: int | None
    experiment_id: str
    name: str
    model: str
    source: str
    uploaded: bool
    value: float | None
    spread: float | None
    lower: float | None
    upper: float | None
    seeds: int
    clips: int | None
    excluded: int
    splits: dict[int, float]
    missing_splits: tuple[int, ...]
    selected_on_test: bool = False
    flags: tuple[Mapping[str, Any], ...] = ()
    group: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    split_spread: float | None = None
    varied: Mapping[str, Any] = field(default_factory=dict)

    def at(self, rank: int, group: int | None) -> Standing:
        """Return it at a place; itself where it stands there."""
        if (self.rank, self.group) == (rank, group):
            return self
        return Standing(**{**vars(self), "rank": rank, "group": group})  # a third of what `replace` takes


@dataclass(frozen=True)
class Board:
    """The ranking of one dataset's revision, split, stream, metric and protocol.

    Attributes:
        revision: of the dataset, on whose lists and clips the numbers were measured.
        superseded: whether the dataset has other lists or clips now.
        split: None for the mean over splits.
        protocol: how the numbers were measured, as its line; None where there are none.
        vary: fields in which protocols may differ from it that are ranked beside it.
        other_protocols: protocols of other entries of this revision, which this board does not rank, and how many
            there are of each.
        other_revisions: other revisions with entries, likewise.
        rows: complete entries of this page, best first.
        incomplete: entries of this page that lack a split, which have no mean.
        total: how many complete entries there are.
        total_incomplete: how many incomplete ones.
        test: the paired test by which entries share a group; None where the metric is no share of clips.
        next_cursor: where the next page begins; None on the last.
        withdrawn: what was withdrawn from it, the latest first, on each page.
    """

    dataset: str
    revision: int
    superseded: bool
    split: int | None
    stream: str
    metric: str
    protocol: str | None
    vary: tuple[str, ...] = ()
    other_protocols: dict[str, int] = field(default_factory=dict)
    other_revisions: dict[int, int] = field(default_factory=dict)
    rows: tuple[Standing, ...] = ()
    incomplete: tuple[Standing, ...] = ()
    total: int = 0
    total_incomplete: int = 0
    test: str | None = None
    next_cursor: str | None = None
    withdrawn: tuple[Withdrawn, ...] = ()


def rank(
    session: Session,
    *,
    dataset: str,
    revision: int | None = None,
    split: int | None = None,
    stream: str = "two-stream",
    metric: str = PRIMARY,
    protocol: str | None = None,
    vary: Sequence[str] = (),
    selected_on_test: SelectedOnTest = "exclude",
    filters: Filters = ALL,
    limit: int = 100,
    cursor: str | None = None,
    memory: Memory | None = None,
) -> Board:
    """Return a page of the leaderboard.

    Args:
        session: a transaction of the caller.
        dataset: its name.
        revision: of the dataset; the present one if none is given.
        split: None for the mean over splits.
        stream: rgb, flow or two-stream.
        metric: one of ``METRICS``, which says which end comes first.
        protocol: its line; that with the most entries if none is given.
        vary: fields of protocols, as `VARIABLE` names them: what differs in nothing else is ranked together.
        selected_on_test: `exclude` ranks no entry whose epoch was chosen on the test list, unless their protocol is
            named, which ranks them by themselves; `flag` ranks them among the others, and each says so.
        filters: what leaves entries out.
        limit: of complete entries, and of incomplete ones.
        cursor: ``next_cursor`` of the page before; revision and protocol are those of that page.
        memory: what is known of boards already; the transaction then sees one state of the database until it ends.

    Raises:
        InvalidRequest: a stream, metric, model or field of protocols that does not exist, a cursor of another board.
        NotFound: a revision that the dataset does not have.
    """
    for name, value, known in (("stream", stream, STREAMS), ("metric", metric, tuple(METRICS))):
        if value not in known:
            raise InvalidRequest(name, value, ", ".join(known))
    for name in vary:
        if name not in VARIABLE:
            raise InvalidRequest("vary", name, ", ".join(VARIABLE))
    own = json.dumps([dataset, split, stream, metric, sorted(vary), selected_on_test, filters.given])
    begin = Cursor.read(cursor, own)
    asked = revision or begin.revision, protocol or begin.protocol
    board = Board(dataset, 0, False, split, stream, metric, protocol, tuple(vary))
    entries = Entries(session, {"dataset": dataset, "stream": stream, "split": split or 0, "metric": metric}, filters)
    choice = _Choice(*asked, selected_on_test)
    with (memory or Memory()).of(session, f"{own} {json.dumps(asked)}", dataset, stream) as kept:
        board, ranked = kept.once("board", lambda: _headed(board, entries, choice, kept))
        if ranked is None:
            return board
        if cursor is not None and not begin.goes_on(ranked.own.revision, ranked.own.protocol):
            raise AlteredCursor("cursor", cursor, ALLOWED)
        return _Page(entries, board, ranked, begin, limit, kept).filled(own)


class _Choice(NamedTuple):
    """What is asked for of a board: a revision and a protocol, each None for the one that comes first."""

    revision: int | None
    protocol: str | None
    selected_on_test: SelectedOnTest


def _headed(board: Board, entries: Entries, choice: _Choice, kept: Kept) -> tuple[Board, Ranked | None]:
    """Return a board without its entries, and what it ranks."""
    if kept.numbers is None:
        kept.numbers = _revisions(entries.session, board.dataset, choice.revision)
    present, number = kept.numbers
    kept.tally = entries.tally(kept.tally, kept.uncounted)
    kept.uncounted.clear()
    counts = kept.tally.counts
    here = [count for count in counts if count.revision == number]
    ranked = choose(here, choice.protocol, choice.selected_on_test, board.vary)
    own = None if ranked is None else ranked.counts
    named = frozenset(own or ())
    if named not in kept.withdrawn:
        kept.withdrawn[named] = withdrawal.listing(entries.session, dict(entries.key), number, own)
    gone = kept.withdrawn[named]
    known: dict[str, Any] = {"revision": number, "superseded": number != present, "withdrawn": gone}
    return replace(board, **known, **_left_out(counts, here, ranked)), ranked


def _left_out(counts: Sequence[Count], here: Sequence[Count], ranked: Ranked | None) -> dict[str, Any]:
    """Return how many entries there are of other protocols, and of other revisions than is ranked."""
    others: dict[int, int] = {}
    for count in sorted(counts, key=lambda count: count.revision):
        if count not in here:
            others[count.revision] = others.get(count.revision, 0) + count.entries
    own = () if ranked is None else ranked.counts
    left_out = {count.line: count.entries for count in here if count.protocol not in own}
    return {"other_protocols": left_out, "other_revisions": others}


def _revisions(session: Session, dataset: str, wanted: int | None) -> tuple[int, int]:
    """Return the number under which the dataset's present data is ranked, and that of what is asked for."""
    latest, present = revisions.numbers(session, dataset)
    if wanted is None:
        return present, present
    if not 1 <= wanted <= latest:
        raise NotFound(f"revision of dataset {dataset}", wanted, f"there are 1 to {latest}")
    return present, revisions.first_like(session, dataset, wanted)


@dataclass(frozen=True)
class _Page:
    """A page of entries, from a cursor on; one more than it holds says whether there is another page."""

    entries: Entries
    board: Board
    ranked: Ranked
    begin: Cursor
    limit: int
    kept: Kept

    @property
    def key(self) -> dict[str, Any]:
        return {"revision": self.ranked.own.revision, "protocols": list(self.ranked.counts)}

    def filled(self, own: str) -> Board:
        """Return the board with its entries; ``own`` tells it from others."""
        begin, limit = self.begin, self.limit
        complete: Sequence[tuple[int, float]] = ()
        if begin.id == 0 and limit < SECTION:
            complete = self._places(0)[: limit + 1]
        elif begin.id is not None:
            complete = self.entries.following(self.key, begin.merit, begin.id, limit + 1)
        incomplete: Sequence[Any] = ()
        if self.ranked.incomplete and begin.incomplete_id is not None:
            incomplete = self.entries.incomplete(self.key, begin.incomplete_id, limit + 1)
        more, more_incomplete = len(complete) > limit, len(incomplete) > limit
        complete, incomplete = complete[:limit], incomplete[:limit]
        last, merit = complete[-1] if more else (None, math.inf)
        following = Cursor(
            self.ranked.own.revision,
            self.ranked.own.protocol,
            merit,
            last,
            incomplete[-1].id if more_incomplete else None,
        )
        return replace(
            self.board,
            protocol=self.ranked.own.line,
            rows=self._rows(complete),
            incomplete=tuple(self._standing(row) for row in incomplete),
            total=self.ranked.complete,
            total_incomplete=self.ranked.incomplete,
            test=groups.TEST if METRICS[self.board.metric].within is not None else None,
            next_cursor=following.write(own) if more or more_incomplete else None,
        )

    def _rows(self, complete: Sequence[tuple[int, float]]) -> tuple[Standing, ...]:
        """Return entries with ranks 1, 2, 2, 4, ...: equal values share one, also with entries of the pages before."""
        if not complete:
            return ()
        better, before = 0, 0
        if self.begin.id:
            better, before = self.entries.before(self.key, complete[0][1], complete[0][0])
        known = self.kept.entries
        for row in self.entries.complete([id_ for id_, _ in complete if id_ not in known]):
            known[row.id] = self._standing(row, (row.value, row.spread, row.lower, row.upper))
        of = self._groups(before, before + len(complete))
        merits = [merit for _, merit in complete]
        firsts = {merit: place for place, merit in reversed(list(enumerate(merits)))}
        ranks = [1 + (better if merit == merits[0] else before + firsts[merit]) for merit in merits]
        there = [(id_, rank) for (id_, _), rank in zip(complete, ranks, strict=True) if id_ in known]
        known.update((id_, known[id_].at(rank, of.get(id_))) for id_, rank in there)
        return tuple(known[id_] for id_, _ in there)

    def _places(self, start: int) -> list[tuple[int, float]]:
        """Return ids and merits of the entries of a section."""
        return self.kept.once(start, lambda: self.entries.places(self.key, start, start + SECTION))

    def _groups(self, begin: int, end: int) -> dict[int, int]:
        """Return the rank of the leader of each entry between two places, by the entry's id, where it is known."""
        within = METRICS[self.board.metric].within
        found: dict[int, int] = {}
        for start in range(begin // SECTION * SECTION, end, SECTION) if within is not None else ():
            found |= self._section(start, within or 0).groups
        return found

    def _section(self, start: int, within: int) -> Section:
        """Return a section with its groups; tests of entries that have stayed are not made again."""
        order, there = self._places(start), self.kept.sections.get(start)
        if there is not None and there.order == order:
            return there
        ids, hits = [id_ for id_, _ in order], self.kept.hits
        new = [id_ for id_ in ids if id_ not in hits]
        read = self.entries.hits(new, within)
        hits.update((id_, read.get(id_)) for id_ in new)
        tests = groups.Tests() if there is None else there.tests
        firsts = {merit: place for place, (_, merit) in reversed(list(enumerate(order)))}
        leaders = tests.leaders(ids, [hits[id_] for id_ in ids])
        ranks = {
            id_: start + firsts[order[leader][1]] + 1
            for id_, leader in zip(ids, leaders, strict=True)
            if leader is not None
        }
        self.kept.sections[start] = Section(order, ranks, tests)
        return self.kept.sections[start]

    def _standing(
        self,
        row: Any,
        numbers: Sequence[float | None] = (None, None, None, None),
    ) -> Standing:
        value, spread, lower, upper = numbers
        splits = dict(sorted((int(split), float(found)) for split, found in (row.splits or {}).items()))
        own, beside = (row.beside or row.network, None) if self.board.stream == "flow" else (row.network, row.beside)
        options = network.options(own)
        count = self.ranked.counts[row.protocol]
        return Standing(
            rank=None,
            experiment_id=row.experiment_id,
            name=row.name,
            model=row.model,
            source=row.source,
            uploaded=row.uploaded,
            value=value,
            spread=spread,
            lower=lower,
            upper=upper,
            seeds=row.seeds,
            clips=row.clips,
            excluded=row.excluded,
            splits=splits,
            missing_splits=tuple(row.missing_splits),
            selected_on_test=count.on_test,
            flags=tuple(row.flags),
            options=options,
            label=network.label(row.model, options, beside if self.board.stream == "two-stream" else None),
            split_spread=_deviation(list(splits.values())) if self.board.split is None else None,
            varied={name: value_of(count.fields, name) for name in self.board.vary},
        )


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, without the fractions by which ``statistics.stdev`` is exact and slow."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
