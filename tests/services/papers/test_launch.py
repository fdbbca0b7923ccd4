"""Launches: members before ensembles, once for many callers, anew on other data."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from services import registry
from services.db.engine import Database
from services.db.tables import ExperimentRow, PaperRow
from services.papers import PAPERS, Order, PrintedFigure, Reduction, own_figures
from services.planning.launch import Launch, Launcher

SMALL = Order(by=Reduction("motion_shapes", "tiny", 1, 8, "dis"))


def figures(paper: str, table: str, row: str, dataset: str | None = None) -> tuple[PrintedFigure, ...]:
    found = own_figures(PAPERS[paper], [table], [row])
    return tuple(figure for figure in found if dataset in (None, figure.dataset))


def launch(database: Database, wanted: tuple[PrintedFigure, ...], order: Order = SMALL, owner: str = "local") -> Launch:
    return Launcher(database, owner, order).launch(wanted)


def test_scores_that_were_brought_are_a_system_and_a_member(brought: Database) -> None:
    alone = launch(brought, figures("video_lstm", "4", "iDT(FV)"), Order())
    assert alone.skipped == ()
    assert [each.experiment.spec["members"][0]["scores"] for each in alone.launched] == [
        ["110".ljust(64, "0")],
        ["010".ljust(64, "0"), "020".ljust(64, "0"), "030".ljust(64, "0")],
    ]
    again = launch(brought, figures("video_lstm", "4", "iDT(FV)"), Order(seeds=(0, 1, 2)))
    assert [each.created for each in again.launched] == [False, False], "score files are the same with every seed"
    made = launch(brought, figures("video_lstm", "4", "iDT(FV)+Objects+VideoLSTM", "ucf101"), Order())
    member, ensemble = (each.experiment for each in made.launched)
    assert member.recipe == "video_lstm_ucf101"
    assert [entry["experiment"] for entry in ensemble.spec["members"]] == [None, None, member.id]
    assert ensemble.spec["method"] == "product"
    row = launch(brought, figures("video_lstm", "3", "This paper", "ucf101"), Order())
    assert [(each.experiment.id, each.created) for each in row.launched] == [(member.id, False)]


def test_without_its_scores_an_ensemble_trains_no_member(registered: Database) -> None:
    made = launch(registered, figures("video_lstm", "4", "iDT(FV)+VideoLSTM", "ucf101"), Order())
    assert made.launched == ()
    assert [each.figure.row for each in made.skipped] == ["iDT(FV)+VideoLSTM"]
    table = own_figures(PAPERS["video_lstm"], ["3", "4"])
    both = launch(registered, tuple(figure for figure in table if figure.dataset == "ucf101"), Order())
    assert sorted(each.experiment.recipe or "" for each in both.launched) == ["alstm_ucf101", "video_lstm_ucf101"]
    assert len(both.skipped) == 3


def test_callers_at_once_get_one_experiment(database: Database) -> None:
    wanted = figures("ts_lstm", "3", "TS1 BN Max BN FC101")
    with ThreadPoolExecutor(4) as callers:
        made = list(callers.map(lambda owner: launch(database, wanted, owner=owner), "abcd"))
    assert len({each.launched[0].experiment.id for each in made}) == 1
    assert sum(each.launched[0].created for each in made) == 1
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(ExperimentRow)) == 1
        assert session.scalar(select(func.count()).select_from(PaperRow)) == 1


def test_another_revision_of_the_data_is_launched_anew(registered: Database) -> None:
    wanted = figures("ts_lstm", "1", "Ours, TV-L1")
    [first] = launch(registered, wanted, Order()).launched
    with registered.transaction() as session:
        registry.add(session, name="ucf101", root="/other", annotations="/ucf101/lists", layout="ucf101", replace=True)
    [second] = launch(registered, wanted, Order()).launched
    assert second.created
    assert second.experiment.id != first.experiment.id
    [again] = launch(registered, wanted, Order()).launched
    assert not again.created


@pytest.mark.parametrize("smaller_first", [True, False])
@pytest.mark.parametrize(
    "by",
    [
        Reduction(batch_size=4096),
        Reduction(dataset="ucf101"),
        Reduction(backbone="vgg16"),
        Reduction(flow="tvl1"),
        Reduction("ucf101", "vgg16", None, 128, "tvl1"),
    ],
)
def test_what_a_reduction_leaves_as_it_is_is_the_papers_own(
    registered: Database, by: Reduction, smaller_first: bool
) -> None:
    wanted = figures("video_lstm", "3", "This paper", "ucf101")
    orders = [Order(by=by), Order()]
    made = [launch(registered, wanted, order) for order in (orders if smaller_first else reversed(orders))]
    assert len({each.launched[0].experiment.id for each in made}) == 1
    assert reduced_rows(registered) == {False}


def test_less_than_the_paper_has_is_noted_so_for_each_row_by_itself(registered: Database) -> None:
    rows = figures("video_lstm", "1", "ConvNet")
    launch(registered, rows, Order(by=Reduction(dataset="ucf101")))
    with registered.transaction() as session:
        found = {(row.dataset, row.reduced) for row in session.execute(select(PaperRow.dataset, PaperRow.reduced))}
    assert found == {("ucf101", False), ("hmdb51", True)}
    launch(registered, figures("ts_lstm", "3", "TS1 BN Max BN FC101"), Order(by=Reduction(epochs=1)))
    assert reduced_rows(registered, "ts_lstm") == {True}


def test_what_was_once_noted_otherwise_is_set_right(registered: Database) -> None:
    wanted = figures("video_lstm", "3", "This paper", "ucf101")
    launch(registered, wanted, Order())
    with registered.transaction() as session:
        session.execute(update(PaperRow).values(reduced=True))
    launch(registered, wanted, Order())
    assert reduced_rows(registered) == {False}


def reduced_rows(database: Database, paper: str = "video_lstm") -> set[bool]:
    with database.transaction() as session:
        return set(session.scalars(select(PaperRow.reduced).where(PaperRow.paper == paper)))
