"""Suggests an ensemble of what is there: the streams of finished experiments that have scores of one split and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import registry, revisions
from services.board.choice import SelectedOnTest, chosen_on_test
from services.board.network import filed
from services.db.engine import Database
from services.db.tables import (
    ExperimentRow,
    ExperimentStageRow,
    ExperimentStreamRow,
    ProtocolRow,
    ResultRow,
    ScoreUploadRow,
    StageRow,
)
from services.errors import Conflict, DataError, Denied, InvalidRequest
from services.scores.files import ScoreFile, read_scores
from services.scores.fusion import aligned
from services.scores.greedy import Suggestion, greedy
from services.specs import Rule
from services.stores.artifacts import ArtifactStore

MOST_CANDIDATES = 32
"""The newest ones: which are best is known of the test clips alone, so that choosing by it would be tuning."""
FEWEST = 2
NO_LOGITS = "its scores are probabilities, and method is logits"
ON_TEST = "its epoch was chosen on the test list; selected_on_test=flag takes it all the same"


@dataclass(frozen=True)
class Candidate:
    """A system that may become a member.

    Attributes:
        experiment: its id, and ``stream`` of it; both None for scores that a user brought.
        scores: the id of those.
        name: of the experiment or of the file.
        key: of the stage that has its scores.
        output: where the store has them.
    """

    experiment: str | None
    scores: str | None
    stream: str | None
    name: str
    key: str
    output: str

    @property
    def member(self) -> dict[str, Any]:
        """The candidate as a member of an ensemble's spec."""
        if self.scores is not None:
            return {"scores": [self.scores]}
        return {"experiment": self.experiment, "stream": self.stream}


@dataclass(frozen=True)
class Suggested:
    """An ensemble that is suggested.

    Attributes:
        candidates: among which it was chosen, the newest first.
        left_out: systems that could not be candidates, with the reason.
        found: what the choice came to; its indices are those of the candidates.
        spec: the ensemble as a body of ``POST /experiments``; None where one system alone is suggested.
    """

    dataset: str
    split: int
    seed: int
    method: Rule
    candidates: tuple[Candidate, ...]
    left_out: Sequence[tuple[Candidate, str]]
    found: Suggestion
    spec: Mapping[str, Any] | None


def suggest(
    database: Database,
    store: ArtifactStore,
    dataset: str,
    *,
    split: int = 1,
    seed: int = 0,
    method: Rule = "probabilities",
    most: int = 5,
    seconds: float = 10.0,
    selected_on_test: SelectedOnTest = "exclude",
) -> Suggested:
    """Return the greedy ensemble of the finished streams of a dataset, on one split and seed.

    No stage keeps scores of clips that are held out of training, so that members are chosen on groups of test clips,
    and measured on groups on which they were not chosen: see `services.scores.greedy`.

    Args:
        database: says which streams there are.
        store: has their scores.
        dataset: its name.
        split: of it.
        seed: of the experiments; scores from elsewhere stand for every seed.
        method: the rule of fusion.
        most: members at the most.
        seconds: for the choice.
        selected_on_test: `exclude` leaves streams out whose epoch test clips chose: they are better than they are on
            the groups on which members are measured, too. `flag` takes them; their ensemble will say so.

    Raises:
        NotFound: no dataset has the name.
        InvalidRequest: the dataset has no such split.
        Conflict: fewer than two streams have scores of it.
        Unavailable: the store does not answer.
    """
    with database.transaction() as session:
        splits = registry.chosen(session, dataset).splits
        if split not in splits:
            raise InvalidRequest("split", split, ", ".join(map(str, sorted(splits))))
        there = list(_candidates(session, dataset, split, seed))
        on_test = _chosen_on_test(session, there) if selected_on_test == "exclude" else frozenset[Candidate]()
    tuned = [(each, ON_TEST) for each in there if each in on_test]
    there = [each for each in there if each not in on_test]
    read, left_out = _read(store, there[:MOST_CANDIDATES], method)
    left_out += tuned
    left_out += [(each, f"more than {MOST_CANDIDATES} are newer") for each in there[MOST_CANDIDATES:]]
    if len(read) < FEWEST:
        reasons = "".join(f"; {each.name}: {reason}" for each, reason in left_out[:3])
        raise Conflict(
            f"split {split} of {dataset} has {len(read)} finished streams with scores of seed {seed}, needed: {FEWEST}"
            + reasons
        )
    candidates = tuple(read)
    found = greedy(list(read.values()), method, most, seconds)
    members = [candidates[at].member for at in found.members]
    body = {"name": f"greedy, split {split}", "dataset": dataset, "splits": [split], "seeds": [seed], "method": method}
    spec = {**body, "members": members} if len(members) > 1 else None
    return Suggested(dataset, split, seed, method, candidates, left_out, found, spec)


def _candidates(session: Session, dataset: str, split: int, seed: int) -> Iterator[Candidate]:
    """Yield the streams that have scores, the newest first; one that several experiments share comes once.

    An ensemble takes those alone that were measured on the dataset's present lists and clips.
    """
    _, present = revisions.numbers(session, dataset)
    own = (ResultRow.experiment_id == ExperimentRow.id, ResultRow.split == split, ResultRow.revision == present)
    query = (
        select(ExperimentRow.id, ExperimentRow.name, StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.experiment_id == ExperimentRow.id)
        .join(StageRow, StageRow.key == ExperimentStageRow.stage_key)
        .where(
            ExperimentRow.dataset == dataset,
            ExperimentRow.state == "succeeded",
            ExperimentRow.withdrawn_at.is_(None),
            ~ExperimentRow.spec.has_key("members"),
            select(ResultRow.id).where(*own).exists(),
            StageRow.kind == "score",
            StageRow.state == "succeeded",
            StageRow.output.is_not(None),
            StageRow.params["split"].as_integer() == split,
            StageRow.params["seed"].as_integer() == seed,
        )
        .order_by(ExperimentRow.created_at.desc(), ExperimentRow.id, ExperimentStageRow.position)
    )
    seen: set[str] = set()
    for id_, name, stage in session.execute(query):
        if stage.key not in seen:
            seen.add(stage.key)
            yield Candidate(id_, None, filed(stage.params), name, stage.key, str(stage.output))
    brought = select(ScoreUploadRow, StageRow).join(StageRow, StageRow.key == ScoreUploadRow.id)
    brought = brought.where(ScoreUploadRow.dataset == dataset, ScoreUploadRow.split == split)
    for upload, stage in session.execute(brought.order_by(ScoreUploadRow.created_at.desc(), ScoreUploadRow.id)):
        if stage.output is not None:
            yield Candidate(None, upload.id, None, upload.name, stage.key, stage.output)


def _chosen_on_test(session: Session, candidates: Sequence[Candidate]) -> frozenset[Candidate]:
    """Return the candidates whose epoch was chosen on the test list."""
    query = select(ExperimentStreamRow.experiment_id, ExperimentStreamRow.stream, ProtocolRow.fields)
    query = query.join(ProtocolRow, ProtocolRow.digest == ExperimentStreamRow.protocol)
    query = query.where(ExperimentStreamRow.experiment_id.in_({each.experiment for each in candidates}))
    chosen = {(id_, stream) for id_, stream, fields in session.execute(query) if chosen_on_test(fields)}
    return frozenset(each for each in candidates if (each.experiment, each.stream) in chosen)


def _read(
    store: ArtifactStore, candidates: Sequence[Candidate], method: Rule
) -> tuple[dict[Candidate, ScoreFile], list[tuple[Candidate, str]]]:
    """Return the scores of candidates in one order of clips, and those that cannot be read, are of other clips, or are
    not what a method fuses."""
    found: dict[Candidate, ScoreFile] = {}
    left_out: list[tuple[Candidate, str]] = []
    for candidate in candidates:
        try:
            file = read_scores(store.fetch(candidate.output))
            if method == "logits" and file.kind != "logits":
                left_out.append((candidate, NO_LOGITS))
                continue
            first = next(iter(found.items()), None)
            if first is None:
                found[candidate] = file
            else:
                _, found[candidate] = aligned([(first[0].name, first[1]), (candidate.name, file)])
        except (DataError, Denied) as error:
            left_out.append((candidate, str(error)))
    return found, left_out
