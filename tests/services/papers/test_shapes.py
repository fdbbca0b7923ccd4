"""A paper's file is refused by the name of what is wrong in it; rows and changes lead to what they say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import InvalidRequest, NotFound
from services.papers import PAPERS, Order, Reduction, named_paper, named_table, own_figures, runs
from services.papers.reduction import reduced
from services.papers.shapes import PaperData
from services.recipes import RECIPES
from services.specs import ExperimentSpec

PAPER: dict[str, Any] = {
    "name": "a",
    "short": "A",
    "title": "a",
    "authors": "a",
    "venue": "a",
    "year": 2000,
    "arxiv": "0",
    "code": None,
    "systems": {"one": {"recipe": "demo_ts_lstm"}},
}
TABLE: dict[str, Any] = {
    "name": "1",
    "title": "a",
    "system": "one",
    "columns": {"x": {"dataset": "ucf101", "split": 1}},
    "rows": [{"row": "r", "values": {"x": 1.0}}],
}


@pytest.mark.parametrize(
    ("changes", "table", "words"),
    [
        ({}, {"rows": [*TABLE["rows"], *TABLE["rows"]]}, "rows: got 'r', allowed: each row once"),
        ({}, {"rows": [{"row": "r", "values": {"y": 1.0}}]}, r"r: got \['y'\], allowed: x"),
        ({}, {"system": "two"}, r"systems: got \['two'\], allowed: one"),
        ({"systems": {"one": {}}}, {}, "recipe: nothing, allowed: a recipe, or members with a method"),
        (
            {"systems": {"one": {"method": "product", "members": [{"stream": "rgb"}]}}},
            {},
            "system: nothing, allowed: a system with its stream, or scores",
        ),
        ({}, {"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_by_name(changes: dict[str, Any], table: dict[str, Any], words: str) -> None:
    assert PaperData.model_validate(PAPER | {"tables": [TABLE]}).tables[0].name == "1"
    with pytest.raises(ValidationError, match=words):
        PaperData.model_validate(PAPER | changes | {"tables": [TABLE | table]})


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="one of matdl, ts_lstm, video_lstm"):
        named_paper("videolstm")
    with pytest.raises(NotFound, match="one of figure-4b, figure-4a"):
        named_table(PAPERS["video_lstm"], "figure-4")
    with pytest.raises(InvalidRequest, match=r"rows.1: got 'T=9', allowed: one of T=6, T=8"):
        own_figures(PAPERS["relational_lstm"], ["2"], ["T=6", "T=9"])


def test_an_experiment_serves_all_figures_of_its_system() -> None:
    paper = PAPERS["ts_lstm"]
    wanted, _ = runs(own_figures(paper, ["2", "6"]), Order(), {"ucf101": (1, 2, 3), "hmdb51": (1, 2, 3)})
    assert [(run.recipe, run.splits, len(run.figures)) for run in wanted] == [
        ("two_stream_ucf101", (1, 2, 3), 15),
        ("two_stream_hmdb51", (1, 2, 3), 12),
    ]
    alone, _ = runs(own_figures(paper, ["1"]), Order(), {"ucf101": (1, 2, 3)})
    assert [run.spec.streams for run in alone if run.spec] == [("flow",), ("flow",)]
    assert alone[0].digest == wanted[0].digest


def test_a_split_that_a_dataset_lacks_is_skipped_by_name() -> None:
    found = own_figures(PAPERS["ts_lstm"], ["2"], ["Spatial-stream"])
    wanted, skipped = runs(found, Order(), {"ucf101": (1,), "hmdb51": (1, 2)})
    assert [(run.dataset, run.splits) for run in wanted] == [("ucf101", (1,)), ("hmdb51", (1, 2))]
    assert [(each.figure.column, each.reason) for each in skipped] == [
        ("ucf101 2", "the dataset has no split 2"),
        ("ucf101 3", "the dataset has no split 3"),
        ("hmdb51 3", "the dataset has no split 3"),
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_reduced(name: str) -> None:
    by = Reduction("motion_shapes", "tiny", 2, 8, "dis")
    spec = ExperimentSpec.model_validate(reduced(RECIPES[name].spec.model_dump(mode="json"), by))
    assert (spec.dataset, spec.flow.algorithm) == ("motion_shapes", "dis")
    for network in spec.networks:
        assert network.model.weights == "none"
        assert (network.training.epochs, network.training.iterations, network.training.schedule) == (2, None, None)
        assert network.training.batch_size <= 8
        for backbone in network.backbones.values():
            assert (backbone.name, backbone.weights) == ("tiny", "none")
            assert backbone.finetune is None or backbone.finetune.epochs == 2


def test_fields_that_came_later_make_no_other_system_of_what_was_measured() -> None:
    wanted, _ = runs(
        own_figures(PAPERS["matdl"], [table.name for table in PAPERS["matdl"].tables]),
        Order(),
        {"ucf101": (1, 2, 3), "hmdb51": (1, 2, 3)},
    )
    assert "5c0e56b4584dd51126fbe11da5d668fe0cb3e5332ab80bbe146a1e2271d65bbe" in {run.digest for run in wanted}
