"""The compose file, read: as it stands, and with its variables put in."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.deployment.dockerfile import image_command, image_environment, inherited
from tests.deployment.project import ROOT

REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<value>[^}]*))?\}")
REQUIRED = {"POSTGRES_PASSWORD": "pw", "REDIS_PASSWORD": "pw", "TWOSTREAM_API_TOKEN": "token"}


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
