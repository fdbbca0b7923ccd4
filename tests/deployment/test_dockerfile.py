"""What the Dockerfile names exists, nothing is secret, nothing floats.

It cannot be run where the tests run, so everything in it that the code can answer for is asked of the code.
"""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.deployment.dockerfile import STAGES, image_command, inherited
from tests.deployment.project import API_PACKAGES, PACKAGES, PIN, PROJECT, ROOT, SECRET, locked_names


def test_the_three_images_are_there() -> None:
    assert {"api", "worker", "mlflow"} <= set(STAGES)


def test_base_images_are_pinned_and_of_a_python_that_we_support() -> None:
    bases = {stage.base for stage in STAGES.values() if stage.base not in STAGES}
    assert all(PIN.fullmatch(base) for base in bases), bases
    assert len(bases) == 1, "the virtual environment is built with the interpreter that runs it"
    version = re.match(r"python:(\d+\.\d+)", bases.pop())
    assert version is not None
    assert version[1] in SpecifierSet(PROJECT["project"]["requires-python"])


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            if rest.startswith("--from="):
                assert rest.split()[0].removeprefix("--from=") in STAGES
            else:
                copied |= set(rest.split()[:-1])
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert copied == allowed


@pytest.mark.parametrize(("stage", "packages"), [("build-api", API_PACKAGES), ("build-worker", PACKAGES)])
def test_an_image_holds_its_folders_only(stage: str, packages: tuple[str, ...]) -> None:
    copied = {source for rest in STAGES[stage].all("COPY") for source in rest.split()[:-1]}
    assert {name for name in copied if (ROOT / name).is_dir()} == set(packages)


def test_every_file_of_a_package_goes_into_the_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    packed = {path for package, globs in patterns.items() for glob in globs for path in (ROOT / package).glob(glob)}
    others = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert others - packed == set()
    sources = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in sources if not (folder / "__init__.py").exists()] == []


def test_installed_extras_and_distributions_exist() -> None:
    installs = [rest for stage in STAGES.values() for rest in stage.all("RUN") if "uv pip install" in rest]
    assert installs
    for line in installs:
        words = shlex.split(line.partition("uv pip install")[2])
        options = dict(itertools.pairwise(words))
        assert {"requirements.lock"} == {options.get("--constraints"), options.get("--build-constraints")} - {None}
        extras = [after for word, after in itertools.pairwise(words) if word == "--extra"]
        assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
        values = {after for word, after in itertools.pairwise(words) if word.startswith("--") and after}
        bare = [word for word in words if not word.startswith("--") and word not in values and word != "."]
        assert {canonicalize_name(Requirement(word).name) for word in bare} <= locked_names()


@pytest.mark.parametrize("target", ["api", "worker", "mlflow"])
def test_an_image_runs_as_an_ordinary_user_who_is_told_to_stop(target: str) -> None:
    user = inherited(target, "USER")[-1]
    assert user.isdecimal()
    assert int(user) > 0
    assert f"--uid {user}" in " ".join(inherited(target, "RUN"))
    assert inherited(target, "STOPSIGNAL") == ["SIGTERM"]
    assert image_command(target)


def test_no_secret_is_built_in() -> None:
    named = [rest for stage in STAGES.values() for word in ("ENV", "ARG") for rest in stage.all(word)]
    assert [rest for rest in named if SECRET.search(rest)] == []
