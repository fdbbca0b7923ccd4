"""Every recipe runs to its end through the API on few clips, and an ensemble beside them: one fleet for all."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select

from cli.spec_file import read_spec
from services.db.tables import FINISHED, AttemptRow, ExperimentRow, StageRow
from services.recipes import RECIPES
from services.scores.files import ScoreFile, read_scores
from services.specs.backbone import FEATURES
from tests.ports import reserved
from tests.system.conftest import Service
from tests.system.reduced import DATASETS, in_order, make_clips, reduced, whole, write_lists

pytestmark = [pytest.mark.xdist_group("recipes"), pytest.mark.timeout(900)]

LEFT = {"tsne", "pca", "memory", "attention", "tubes", "flow"}
"""Figures from what stages leave."""
ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 800
"""Far longer than all take together: 70 s on two cores that nothing else keeps busy."""


@dataclass
class Fleet:
    """A service with two slots, a client of its API, and the datasets of the recipes."""

    service: Service
    client: httpx.Client

    def get(self, path: str, **query: str) -> Any:
        """Return what the API answers."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what the API answers to a body."""
        answer = self.client.post(path, json=body)
        assert answer.is_success, f"{body.get('recipe')}: {answer.text}"
        return answer.json()

    def finish(self, ids: Iterable[str]) -> None:
        """Wait until experiments have ended."""
        query = select(ExperimentRow.id).where(ExperimentRow.id.in_(list(ids)), ExperimentRow.state.not_in(FINISHED))

        def over() -> bool:
            with self.service.database.transaction() as session:
                return session.scalar(query.limit(1)) is None

        self.service.wait_for(over, "the end of all", PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def fleet(migrated_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    url, folder = migrated_database(), tmp_path_factory.mktemp("recipes")
    with reserved() as port:
        service = Service(folder, url, folder / "data", port)
        try:
            service.start_worker(concurrency=2)  # imports while clips are made
            root = make_clips(folder / "data")
            for name in DATASETS:
                write_lists(folder / name)
                service.add_dataset(name, root=str(root), annotations=str(folder / name), splits=[1])
            with service.api() as client:
                yield Fleet(service, client)
        finally:
            service.close()


def test_every_recipe_runs_to_its_end(fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    ids: dict[str, str] = {}
    for recipe in in_order():
        ids[recipe.name] = fleet.post("/experiments", reduced(recipe, ids))["id"]
    assert set(ids) == set(RECIPES)
    fleet.finish(ids.values())
    faults: list[str] = []
    drawn: set[str] = set()
    for name, experiment in ids.items():
        found = _faults(fleet, name, experiment) or _pictures(fleet, name, experiment, drawn)
        stages = fleet.get(f"/experiments/{experiment}")["progress"]["total"]
        record_property("recipes", f"{name:36} {stages:2} stages  {'failed' if found else 'passed'}")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    with fleet.service.database.transaction() as session:
        blind = select(func.count()).select_from(AttemptRow).where(AttemptRow.environment.is_(None))
        assert session.scalar(blind) == 0


SMALL = ("demo", "baseline", "own_clips")
"""Files of `experiments/` that train in minutes; `tests/api/test_experiment_files.py` tries the others."""


@pytest.mark.long  # every recipe runs above, and `tests/api/test_experiment_files.py` plans these
def test_small_files_of_experiments_run(fleet: Fleet) -> None:
    few = {"dataset": DATASETS[0], "splits": [1], "seeds": [0]}
    bodies = [read_spec(ROOT / "experiments" / f"{name}.yaml") for name in SMALL]
    ids = [fleet.post("/experiments", {**body, **few})["id"] for body in bodies]
    fleet.finish(ids)
    ends = [fleet.get(f"/experiments/{experiment}") for experiment in ids]
    assert [(end["state"], end["message"]) for end in ends] == [("succeeded", None)] * len(SMALL)


def _faults(fleet: Fleet, name: str, experiment: str) -> list[str]:
    """Return what is wrong with a recipe that was cut down: of its end, its plan, its results, its report."""
    found = fleet.get(f"/experiments/{experiment}")
    if found["state"] != "succeeded":
        return [f"{found['state']}: {found['message']}"]
    planned = fleet.post("/experiments?dry_run=true", whole(RECIPES[name]))["stages"]
    own, other = _structure(fleet.get(f"/experiments/{experiment}/stages")), _structure(planned)
    faults = [f"stages: {own - other} in place of {other - own}"] if own != other else []
    results = fleet.get(f"/experiments/{experiment}/results")
    streams = {RECIPES[name].spec.systems[-1]}  # of all networks together
    measured = {entry["stream"] for entry in results if 0 <= entry["metrics"]["top1"]["value"] <= 1}
    faults += [f"results of {measured}, none of {streams - measured}"] if not streams <= measured else []
    report = fleet.get(f"/experiments/{experiment}/report")
    faults += [] if report["deviations"] == dict(RECIPES[name].deviations) else ["a report of other deviations"]
    return faults


def _pictures(fleet: Fleet, name: str, experiment: str, drawn: set[str]) -> list[str]:
    """Return what is wrong with the pictures of a recipe; one of each kind that was not yet drawn is."""
    spec = RECIPES[name].spec
    networks = [part.model for part in spec.networks]
    listed = fleet.get(f"/experiments/{experiment}/figures")
    there = {figure["name"] for figure in listed if figure["available"]} & LEFT
    expected = {"tsne", "pca"}
    expected |= {"memory"} if any(model.remembers for model in networks) else set()
    expected |= {"attention"} if any(model.attends for model in networks) else set()
    expected |= {"tubes"} if spec.evaluation.localization is not None else set()
    expected |= {"flow"} if "flow" in spec.streams and spec.flow.storage == "stored" else set()
    faults = [] if there == expected else [f"pictures {there}, expected {expected}"]
    for figure in listed:
        if figure["name"] in there - drawn:
            drawn.add(figure["name"])
            answer = fleet.client.get(figure["webp"] or figure["png"], timeout=PATIENCE_SECONDS)
            faults += [] if answer.is_success else [f"{figure['name']}: {answer.text}"]
    return faults


def _structure(stages: list[dict[str, Any]]) -> Counter[str]:
    """Return the names of stages, without those of backbones, and of the dataset where a stage is another's."""
    backbones = re.compile(rf"\b({'|'.join(sorted(FEATURES, key=len, reverse=True))})\b")
    return Counter(backbones.sub("tiny", stage["name"]).partition(", on ")[0] for stage in stages)


def test_an_ensemble_of_a_trained_stream_and_a_file_is_what_numpy_says(fleet: Fleet) -> None:
    body = reduced(RECIPES["two_stream_ucf101"], {})
    trained = fleet.post("/experiments", {**body, "streams": ["rgb"], "flow_stream": None})["id"]
    fleet.finish([trained])
    own = _scores(fleet, trained, "score")
    rng = np.random.default_rng(5)
    order, logits = rng.permutation(len(own.clips)), 5 * rng.normal(size=own.scores.shape)
    brought = _bring(fleet, own, order, logits[order])
    members = [
        {"experiment": trained, "stream": "rgb", "weight": 0.7},
        {"scores": [brought], "weight": 1.8},
    ]
    for method in ("probabilities", "product"):
        made = fleet.post(
            "/experiments",
            {"name": method, "dataset": "ucf101", "splits": [1], "members": members, "method": method},
        )
        fleet.finish([made["id"]])
        assert fleet.get(f"/experiments/{made['id']}")["message"] is None
        fused = _scores(fleet, made["id"], "fuse")
        expected = _by_hand(method, own.values, logits)
        np.testing.assert_allclose(fused.values, expected, rtol=0, atol=1e-12)
        assert np.abs(expected - own.values).max() > 0.01
        [result] = [entry for entry in fleet.get(f"/experiments/{made['id']}/results") if entry["seed"] == 0]
        assert (result["source"], result["uploaded"]) == ("ensemble", True)
        assert result["metrics"]["top1"]["value"] == np.mean(expected.argmax(1) == own.truth)


def _scores(fleet: Fleet, experiment: str, kind: str) -> ScoreFile:
    """Return the score file of an experiment's only stage of a kind that has no other after it."""
    stages = fleet.get(f"/experiments/{experiment}/stages")
    output = [stage for stage in stages if stage["kind"] == kind][-1]
    with fleet.service.database.transaction() as session:
        place = session.scalar(select(StageRow.output).where(StageRow.key == output["key"]))
    assert place is not None
    return read_scores(fleet.service.store.fetch(place))


def _bring(fleet: Fleet, own: ScoreFile, order: Any, logits: Any) -> str:
    """Upload scores of the same clips, in another order of clips and classes, and return their id."""
    file = io.BytesIO()
    clips = [f"{own.clips[row]}.avi" for row in order]
    np.savez(file, clips=np.array(clips), classes=np.array(own.classes[::-1]), scores=logits[:, ::-1])
    query = {"dataset": "ucf101", "split": "1", "stream": "flow", "file_type": "npz", "kind": "logits"}
    headers = {"Content-Type": "application/octet-stream"}
    answer = fleet.client.post("/scores", params=query, content=file.getvalue(), headers=headers)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def _by_hand(method: str, trained: Any, logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    brought = powers / powers.sum(axis=1, keepdims=True)
    if method == "probabilities":
        return (0.7 * trained + 1.8 * brought) / 2.5
    product = trained**0.7 * brought**1.8
    return product / product.sum(axis=1, keepdims=True)
