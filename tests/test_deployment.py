"""Dockerfile, compose file and lock file: what they name exists, nothing is secret, nothing floats.

Neither file can be run where the tests run, so everything in them that the code can answer for is asked of the code.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import SecretStr

from api.app import create_app
from services.broker import QUEUES
from services.db.tables import WorkerRow
from services.settings import Settings

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PACKAGES = ("api", "cli", "models", "services", "worker")
API_PACKAGES = ("api", "cli", "services")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_AUTH$|_KEY$")
PIN = re.compile(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)*")
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<value>[^}]*))?\}")
REQUIRED = {"POSTGRES_PASSWORD": "pw", "REDIS_PASSWORD": "pw", "TWOSTREAM_API_TOKEN": "token"}
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass
class Stage:
    """One `FROM` of the Dockerfile with what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for word, rest in self.instructions if word == keyword]


def read_dockerfile() -> dict[str, Stage]:
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    stages: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = Stage(name, base)
        else:
            stages[name].instructions.append((keyword, " ".join(rest.split())))
    return stages


STAGES = read_dockerfile()


def lineage(name: str) -> Iterator[Stage]:
    """Yield a stage and those it stands on."""
    while name in STAGES:
        yield STAGES[name]
        name = STAGES[name].base


def inherited(name: str, keyword: str) -> list[str]:
    return [rest for stage in reversed(list(lineage(name))) for rest in stage.all(keyword)]


def image_environment(name: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for rest in inherited(name, "ENV") for entry in shlex.split(rest))


def image_command(name: str) -> list[str]:
    command: list[str] = json.loads(inherited(name, "CMD")[-1])
    return command


def substituted(value: Any) -> Any:
    """Put in what compose would, where only the required variables are set."""
    if isinstance(value, dict):
        return {name: substituted(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [substituted(entry) for entry in value]
    if not isinstance(value, str):
        return value
    return REFERENCE.sub(lambda found: REQUIRED[found["name"]] if found["how"] == "?" else found["value"], value)


COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
RUNNABLE: dict[str, Any] = substituted(COMPOSE)
SERVICES: dict[str, Any] = RUNNABLE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
WORKERS = sorted(name for name in SERVICES if name.startswith("worker"))


def command_of(name: str) -> list[str]:
    service = SERVICES[name]
    own: list[str] | None = service.get("command")
    return own or image_command(service["build"]["target"])


def environment_of(name: str) -> dict[str, str]:
    service = SERVICES[name]
    image = image_environment(service["build"]["target"]) if "build" in service else {}
    return {**image, **service.get("environment", {})}


def health_of(name: str) -> list[str] | None:
    service = SERVICES[name]
    if "healthcheck" in service:
        return list(service["healthcheck"]["test"][1:])
    checks = inherited(service["build"]["target"], "HEALTHCHECK") if "build" in service else []
    return list(json.loads(checks[-1].partition("CMD ")[2])) if checks else None


def names_in_code(pattern: str) -> set[str]:
    sources = (path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {name for source in sources for name in re.findall(pattern, source)}


def locked_names() -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, flags=re.MULTILINE)}


def closure(*requirements: str) -> set[str]:
    """Return the names of all distributions that requirements bring along on this platform."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    left = [Requirement(requirement) for requirement in requirements]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        found.add(name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = map(Requirement, importlib.metadata.requires(name) or [])
                left += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


# Dockerfile


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


# Compose file


def test_the_parts_of_the_plan_are_there() -> None:
    assert {"postgres", "redis", "mlflow", "migrate", "api", "worker-gpu", "worker-cpu"} == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned_or_built_from_here(name: str) -> None:
    service = SERVICES[name]
    assert PIN.fullmatch(service["image"].removeprefix("twostream-"))
    if name in OURS:
        assert service["build"]["target"] in STAGES
        assert service["image"] == f"twostream-{service['build']['target']}:{PROJECT['project']['version']}"


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, how in ((found["name"], found["how"]) for found in REFERENCE.finditer(text)):
        assert how == ("?" if SECRET.search(name) else "-"), f"{name}: secrets are required, all else has a default"
    assert {found["name"] for found in REFERENCE.finditer(text) if found["how"] == "?"} == set(REQUIRED)
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert REFERENCE.fullmatch(value), name
            if password := urlsplit(REFERENCE.sub("SUBSTITUTED", str(value))).password:
                assert password == "SUBSTITUTED", name
    assert re.findall(r"requirepass (.*)", text) == ["${REDIS_PASSWORD:?set it}"]


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {f"TWOSTREAM_{name.upper()}" for name in Settings.model_fields} | names_in_code(r"\bTWOSTREAM_[A-Z_]+\b")
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"\bTWOSTREAM_[A-Z_]+\b", text)) - known == set()


def test_every_variable_of_mlflow_is_one_that_its_server_reads() -> None:
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    server = Path(spec.origin).parent
    files = ("environment_variables.py", "utils/cli_args.py", "cli/__init__.py")
    known = "".join((server / file).read_text() for file in files)
    used = {name for name in environment_of("mlflow") if name.startswith("MLFLOW_")}
    assert {name for name in used if name not in known} == set()


@pytest.mark.parametrize("name", [name for name in OURS if name != "mlflow"])
def test_settings_accept_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in environment_of(name).items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.database_url is not None
    assert settings.redis_url is not None
    assert (settings.api_token is not None) == (name == "api"), "only the API needs the token"


@pytest.mark.parametrize("name", OURS)
def test_a_command_names_what_exists(name: str) -> None:
    program, *arguments = command_of(name)
    if program == "twostream":
        parse_cli(arguments)
        return
    if program == "python":
        assert arguments[0] == "-m"
        assert runs_as_main(arguments[1]), f"{arguments[1]} cannot be run by python -m"
        arguments = arguments[1:]
    else:
        assert program in {script.name for script in importlib.metadata.entry_points(group="console_scripts")}
    for target in (argument for argument in arguments if re.fullmatch(r"[\w.]+:\w+", argument)):
        module, _, attribute = target.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def parse_cli(arguments: list[str]) -> None:
    """Parse a command line as `twostream` would, without running it; an unknown word raises."""
    group = typer.main.get_command(importlib.import_module("cli.main").app)
    name, *rest = arguments
    command = group.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, list(rest))


def runs_as_main(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    if spec.submodule_search_locations is not None:
        return importlib.util.find_spec(f"{module}.__main__") is not None
    tree = ast.parse(Path(spec.origin).read_text())
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)


def test_every_queue_has_a_worker() -> None:
    served = {command_of(name)[command_of(name).index("--queues") + 1] for name in WORKERS}
    assert served == set(QUEUES)


def test_ports_are_those_on_which_the_images_listen() -> None:
    for name in ("api", "mlflow"):
        exposed = inherited(SERVICES[name]["build"]["target"], "EXPOSE")
        command = command_of(name)
        assert [command[command.index("--port") + 1]] == exposed
        assert command[command.index("--host") + 1] == "0.0.0.0"
        assert [port.rpartition(":")[2] for port in SERVICES[name]["ports"]] == exposed
        assert f"127.0.0.1:{exposed[0]}/" in " ".join(health_of(name) or [])


def test_addresses_name_services_and_their_ports() -> None:
    listening = {"postgres": 5432, "redis": 6379}
    listening |= {name: int(inherited(name, "EXPOSE")[0]) for name in ("api", "mlflow")}
    for name in OURS:
        texts = [*environment_of(name).values(), *(health_of(name) or [])]
        for url in re.findall(r"\b[a-z+]+://[^\s\"']+", " ".join(map(str, texts))):
            parts = urlsplit(url)
            assert parts.hostname == "127.0.0.1" or parts.port == listening[str(parts.hostname)], url


def test_only_what_asks_for_a_token_is_reachable_from_outside() -> None:
    outside = [n for n, s in SERVICES.items() if any(not p.startswith("127.0.0.1:") for p in s.get("ports", []))]
    assert outside == ["api"]
    assert Settings(api_host="0.0.0.0", api_token=SecretStr("token")).api_token is not None
    with pytest.raises(ValueError, match="TWOSTREAM_API_TOKEN"):
        Settings(api_host="0.0.0.0")


def test_databases_that_are_used_are_made() -> None:
    made = {SERVICES["postgres"]["environment"]["POSTGRES_DB"]}
    made |= set(re.findall(r"CREATE DATABASE (\w+);", RUNNABLE["configs"]["postgres-databases"]["content"]))
    urls = {value for name in OURS for value in environment_of(name).values() if str(value).startswith("postgresql")}
    assert {urlsplit(url).path.lstrip("/") for url in urls} == made
    assert {urlsplit(url).username for url in urls} == {SERVICES["postgres"]["environment"]["POSTGRES_USER"]}


def test_redis_keeps_its_queue() -> None:
    lines = RUNNABLE["configs"]["redis"]["content"].splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(lines)
    assert SERVICES["redis"]["configs"][0]["target"] in SERVICES["redis"]["command"]


def test_everything_that_stays_up_has_a_health_check() -> None:
    assert [name for name in SERVICES if name != "migrate" and not health_of(name)] == []
    assert SERVICES["migrate"]["restart"] == "no"


def test_dependencies_can_be_met() -> None:
    for service in SERVICES.values():
        for other, needs in service.get("depends_on", {}).items():
            assert other in SERVICES
            once = needs["condition"] == "service_completed_successfully"
            assert once == (other == "migrate")
            assert once or health_of(other)


def test_volumes_are_declared_used_and_writable() -> None:
    mounts = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    named = {mount[0] for mount in mounts if not mount[0].startswith(".")}
    assert named == set(RUNNABLE["volumes"])
    for name in OURS:
        home = environment_of(name)["TWOSTREAM_HOME"]
        assert f"--home-dir {home} " in " ".join(inherited(SERVICES[name]["build"]["target"], "RUN"))
        writable = [volume.split(":") for volume in SERVICES[name].get("volumes", []) if not volume.endswith(":ro")]
        assert [mount[1] for mount in writable] == ([] if name == "migrate" else [home])
    used = {entry["source"] for service in SERVICES.values() for entry in service.get("configs", [])}
    assert used == set(RUNNABLE["configs"])


def test_artifacts_lie_where_api_and_workers_share_a_volume() -> None:
    roots = {environment_of(name)["TWOSTREAM_ARTIFACT_ROOT"] for name in ("api", *WORKERS)}
    assert len(roots) == 1
    assert roots.pop().startswith(environment_of("api")["TWOSTREAM_HOME"])
    assert all(SERVICES[name]["volumes"] == SERVICES["api"]["volumes"] for name in WORKERS)


@pytest.mark.parametrize("name", OURS)
def test_our_processes_have_an_init_and_get_no_privileges(name: str) -> None:
    assert SERVICES[name]["init"] is True
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_time_for_its_checkpoint(name: str) -> None:
    period = SERVICES[name]["stop_grace_period"]
    grace = float(environment_of(name)["TWOSTREAM_GRACE_SECONDS"])
    assert int(period[:-1]) * SECONDS[period[-1]] >= grace + 30
    assert SERVICES[name]["shm_size"]


def test_the_gpu_worker_asks_for_gpus() -> None:
    devices = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in SERVICES["worker-cpu"]


@pytest.mark.parametrize(("state", "code"), [("alive", 0), ("lost", 1), ("stopped", 1), (None, 1)])
def test_a_workers_health_is_whether_it_reports(state: str | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [{"host": "another", "state": "alive"}]
    if state is not None:
        answer.append({"host": socket.gethostname(), "state": state})
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(json.dumps(answer).encode()))
    program, option, source = health_of("worker-gpu") or []
    assert (program, option) == ("python", "-c")
    with pytest.raises(SystemExit) as end:
        exec(compile(source, "healthcheck", "exec"), {})
    assert int(end.value.code or 0) == code
    assert {"host", "state"} <= set(WorkerRow.__table__.columns.keys())


def test_health_checks_ask_for_pages_that_exist() -> None:
    settings = Settings(database_url="postgresql+psycopg://nobody@127.0.0.1/none", redis_url="redis://127.0.0.1")
    paths = set(create_app(settings).openapi()["paths"])
    asked = " ".join(word for name in ("api", *WORKERS) for word in health_of(name) or [])
    assert set(re.findall(r"(?::8080)(/[a-z/]+)", asked)) == {"/health/ready", "/workers"}
    assert {"/health/ready", "/workers"} <= paths


# Lock file


def test_every_locked_version_has_hashes_and_no_address() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+( ; .+?)? \\\n", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in LOCK
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)\b", LOCK, flags=re.MULTILINE)


def test_everything_that_the_project_names_is_locked() -> None:
    project = PROJECT["project"]
    groups = (project["dependencies"], *project["optional-dependencies"].values(), PROJECT["dependency-groups"]["dev"])
    named = {canonicalize_name(Requirement(requirement).name) for group in groups for requirement in group}
    assert named - locked_names() == set()


@pytest.mark.parametrize("requirement", ["twostream[s3]", "twostream[s3,worker]", "mlflow", "psycopg[binary]"])
def test_an_image_installs_locked_distributions_only(requirement: str) -> None:
    assert closure(requirement) - {"twostream"} - locked_names() == set()


def test_the_api_image_has_no_torch_and_the_worker_image_has() -> None:
    heavy = {"torch", "torchvision", "timm", "opencv-contrib-python-headless", "av"}
    assert closure("twostream[s3]") & heavy == set()
    assert heavy <= closure("twostream[s3,worker]")


BLOCKED = """
import importlib, sys
from pathlib import Path
blocked, folder = sys.argv[1].split(","), Path(sys.argv[2])
sys.modules.update(dict.fromkeys(blocked))  # None: an import of it fails
for path in sorted((folder / "services").rglob("*.py")):
    if path.name != "env.py" and "versions" not in path.parts:
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        importlib.import_module(name.removesuffix(".__init__"))
importlib.import_module("api.app")
importlib.import_module("cli.main")
"""


def test_the_api_image_imports_nothing_that_it_lacks() -> None:
    """Every module of services, the API and the command, in an interpreter that has the image's distributions only."""
    there = closure("twostream")
    homes = importlib.metadata.packages_distributions().items()
    lacking = {top for top, names in homes if not {canonicalize_name(name) for name in names} & there}
    lacking |= set(PACKAGES) - set(API_PACKAGES)
    blocked = ",".join(sorted(lacking - set(API_PACKAGES) - set(sys.stdlib_module_names)))
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, blocked, str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
