"""README, changelog and decisions: every command, request, variable and file that they name exists in the code."""

from __future__ import annotations

import fnmatch
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from api.app import create_app
from cli import client
from services import recipes
from services.settings import Settings
from services.specs import EnsembleSpec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
RECORDS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PACKAGES = ("api", "cli", "models", "services", "worker")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
FILE_SUFFIXES = (".py", ".md", ".yml", ".toml", ".lock")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def fences(text: str, language: str) -> list[str]:
    return [content for name, content in FENCE.findall(text) if name == language]


def spans(text: str) -> list[str]:
    """Return what stands between backticks in a line of prose or a table."""
    return SPAN.findall(FENCE.sub("", text))


def command_lines(text: str) -> list[str]:
    typed = [line for block in fences(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    lines = [line.removeprefix("$ ") for line in typed]
    return [*lines, *spans(text)]


def calls_of(program: str, text: str) -> Iterator[list[str]]:
    for line in command_lines(text):
        for found in re.finditer(rf"(?:^|\s){program} ([^|&;]+)", line):
            yield found[1].split()


def cli_commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from cli_commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


@pytest.fixture(scope="module")
def commands() -> dict[tuple[str, ...], click.Command]:
    return dict(cli_commands(typer.main.get_command(importlib.import_module("cli.main").app)))


@pytest.fixture(scope="module")
def own_options() -> set[str]:
    """Options of the command itself, before any other word."""
    group: Any = typer.main.get_command(importlib.import_module("cli.main").app)
    return {"-h", "--help"} | {option for parameter in group.params for option in parameter.opts}


@pytest.fixture(scope="module")
def requests() -> set[tuple[str, str]]:
    """Every method and path of the API, `{...}` for a parameter."""
    settings = Settings(database_url="postgresql+psycopg://nobody@127.0.0.1/none", redis_url="redis://127.0.0.1")
    app = create_app(settings)
    paths = app.openapi()["paths"].items()
    found = {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, methods in paths for method in methods}
    return found | {("GET", "/"), ("GET", str(app.docs_url))}


def requests_in(text: str) -> set[tuple[str, str]]:
    return {
        (method, re.sub(r"{\w+}", "{}", path))
        for method, path in re.findall(r"\b(GET|POST|PATCH|DELETE) (/(?:[\w/{}-]|\.(?={))*)", text)
    }


def code() -> str:
    return "\n".join(path.read_text() for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))


@pages
def test_what_is_typed_stands_before_what_is_printed(page: Path) -> None:
    assert [block for block in fences(page.read_text(), "console") if not block.startswith("$ ")] == []


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {words[0] for words in calls_of("make", page.read_text())} - targets == set()


def test_every_make_target_is_explained() -> None:
    explained = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)) - {"help"}
    assert explained - {words[0] for words in calls_of("make", README)} == set()


@pages
def test_commands_and_their_options_exist(
    page: Path, commands: dict[tuple[str, ...], click.Command], own_options: set[str]
) -> None:
    for words in calls_of("twostream", page.read_text()):
        if words[0].startswith("-"):
            assert set(words) - own_options == set()
            continue
        names = (tuple(words[:2]), tuple(words[:1]), (words[0], "submit"))  # which `sweep` lets be left out
        name = next((each for each in names if each in commands), None)
        assert name is not None, f"twostream {' '.join(words)}"
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} - known == set()


def test_options_that_stand_alone_exist(commands: dict[tuple[str, ...], click.Command], own_options: set[str]) -> None:
    known = {option for command in commands.values() for parameter in command.params for option in parameter.opts}
    known |= own_options
    named = {span.split()[0] for span in spans(README) if span.startswith("--")}
    assert named - known == set()


def test_every_command_is_in_the_readme(commands: dict[tuple[str, ...], click.Command]) -> None:
    named = {tuple(words[:size]) for words in calls_of("twostream", README) for size in (1, 2)}
    assert set(commands) - named == set()


def test_exit_codes_are_those_of_the_command() -> None:
    table = README.partition("| code | means |")[2].partition("\n\n")[0]
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)}
    constants = (client.OK, client.FAILURE, client.INVALID, client.NOT_FOUND, client.CONFLICT, client.INTERRUPTED)
    assert named == set(constants)


@pages
def test_requests_exist(page: Path, requests: set[tuple[str, str]]) -> None:
    assert requests_in(page.read_text()) - requests == set()


def test_every_request_is_in_the_readme(requests: set[tuple[str, str]]) -> None:
    assert requests - requests_in(README) == set()


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """Every variable that the code reads."""
    named = {f"TWOSTREAM_{name.upper()}" for name in Settings.model_fields}
    return named | set(re.findall(r"\bTWOSTREAM_[A-Z_]+[A-Z]\b", code()))


@pages
def test_variables_exist(page: Path, variables: set[str]) -> None:
    assert set(re.findall(r"\bTWOSTREAM_[A-Z_]+[A-Z]\b", page.read_text())) - variables == set()


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `TWOSTREAM_(\w+)` \| ([^|]+) \|", README, flags=re.MULTILINE))
    assert {name.upper() for name in Settings.model_fields} - set(rows) == set()
    for name, entry in Settings.model_fields.items():
        if isinstance(entry.default, int | float):
            assert rows[name.upper()] == f"`{entry.default:g}`", name


def test_variables_of_the_compose_file_are_there() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{(\w+)", compose))
    section = README.partition("## Beyond one machine")[2].partition("\n## ")[0]
    assert {name for name in used if name not in section} == set()
    assigned = set(re.findall(r"\b([A-Z][A-Z_]+)=", section))
    assert {name for name in assigned if name not in compose} == set()


@pages
def test_files_exist(page: Path) -> None:
    text = page.read_text()
    named = {span for span in spans(text) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span)}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    paths = {
        name
        for name in named
        if name.endswith(("/", *FILE_SUFFIXES)) or ("/" in name and name.split("/")[0] in folders)
    }
    assert {name for name in paths if not (ROOT / name).exists()} == set()


@pages
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_the_code_map_has_every_folder() -> None:
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    folders = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and path.name != ".git" and not any(fnmatch.fnmatch(path.name, name) for name in ignored)
    }
    section = README.partition("## Code map")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w.-]+)/` \|", section, flags=re.MULTILINE)) == folders


@pytest.mark.parametrize("example", fences(README, "yaml"))
def test_examples_are_experiments(example: str) -> None:
    body = yaml.safe_load(example)
    if "members" in body:
        assert EnsembleSpec.model_validate_json(json.dumps(body), strict=True).members
        return
    spec, recipe = recipes.resolve(body)
    assert spec.name == body["name"]
    assert recipe == body.get("recipe")


@pages
def test_recipes_and_models_exist(page: Path) -> None:
    named = {span for span in spans(page.read_text()) if re.fullmatch(r"\w+_(ucf101|hmdb51)|demo_\w+", span)}
    assert named - set(recipes.RECIPES) == set()


def test_the_licence_is_the_one_that_the_project_names() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert "Apache-2.0" in README


def test_the_changelog_has_this_version() -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert found is not None
    assert f"## {found[1]} (" in (ROOT / "CHANGELOG.md").read_text()


def test_decisions_are_numbered_and_listed() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
    assert [record.name for record in RECORDS if f"docs/decisions/{record.name}" not in README] == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_decision_is_one_page_of_three_parts(record: Path) -> None:
    lines = record.read_text().splitlines()
    assert lines[0].startswith(f"# {int(record.name[:4])}. ")
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
    assert len(lines) <= 60


@pages
def test_pages_name_no_path_of_one_machine(page: Path) -> None:
    assert re.findall(r"/(?:root|home|work|Users)/\w+", page.read_text()) == []
