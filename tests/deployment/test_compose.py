"""What the compose file names exists: every service, port, variable and command; nothing in it is secret.

It cannot be run where the tests run, so everything in it that the code can answer for is asked of the code.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import io
import json
import re
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from pydantic import SecretStr

from api.app import create_app
from services.db.tables import WorkerRow
from services.settings import Settings
from services.stores.broker import QUEUES
from tests.deployment.composition import (
    COMPOSE,
    OURS,
    REFERENCE,
    REQUIRED,
    RUNNABLE,
    SERVICES,
    WORKERS,
    command_of,
    environment_of,
    health_of,
)
from tests.deployment.dockerfile import STAGES, inherited
from tests.deployment.project import PACKAGES, PIN, PROJECT, ROOT, SECRET

SECONDS = {"s": 1, "m": 60, "h": 3600}


def test_the_parts_of_the_plan_are_there() -> None:
    assert {"postgres", "redis", "mlflow", "migrate", "api", "worker-gpu", "worker-cpu"} == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned_or_built_from_here(name: str) -> None:
    service = SERVICES[name]
    assert PIN.fullmatch(service["image"].removeprefix("twostream-"))
    if name in OURS:
        assert service["build"]["target"] in STAGES
        assert service["image"] == f"twostream-{service['build']['target']}:{PROJECT['project']['version']}"


OPTIONAL = {"TWOSTREAM_WEBHOOK_SECRET"}
"""Secrets of what nobody has to have."""


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, how in ((found["name"], found["how"]) for found in REFERENCE.finditer(text)):
        assert how == ("?" if SECRET.search(name) and name not in OPTIONAL else "-"), (
            f"{name}: secrets are required, all else has a default"
        )
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


def names_in_code(pattern: str) -> set[str]:
    sources = (path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {name for source in sources for name in re.findall(pattern, source)}


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
    for target in (argument for argument in arguments if re.fullmatch(r"[a-z][\w.]*:\w+", argument)):
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
        host, _, port = command[-1].rpartition(":")  # as our own server takes it
        if "--port" in command:
            host, port = (command[command.index(option) + 1] for option in ("--host", "--port"))
        assert (host, [port]) == ("0.0.0.0", exposed)
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
    with pytest.raises(ValueError, match="api_token: nothing, allowed: a token"):
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
