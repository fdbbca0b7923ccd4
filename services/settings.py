"""Every setting, from environment variables that begin with `TWOSTREAM_`, as one frozen object."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.errors import REFUSED, InvalidSettings, refused, sentence
from services.limits import MAX_DECODE_GIGABYTES, MAX_FRAME_MEGAPIXELS

PREFIX = "TWOSTREAM_"
ADDRESSES = {
    "database_url": ("postgresql+psycopg://user@host:port/name", r"postgresql(\+psycopg)?://.*/.+"),
    "redis_url": ("redis://host:port/0", r"(rediss?|unix)://.+"),
    "mlflow_url": ("http://host:port", r"https?://.+"),
}
"""What the address of each server looks like, and the pattern that tells."""
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]?")
DEFAULT_HOME = Path.home() / ".twostream"


class Settings(BaseSettings):
    """Addresses, folders and periods; what is not given belongs to the embedded stack below ``home``.

    Attributes:
        home: folder of everything that the embedded stack keeps.
        database_url: ``postgresql+psycopg://user@host:port/name``; `twostream up` starts a server when it is None.
        redis_url: the broker; likewise.
        mlflow_url: the tracking server; likewise.
        artifact_root: folder or ``fsspec`` URL of stage outputs; ``home/artifacts`` when None.
        data_root: folder of generated datasets and of clips' flow; ``home/data`` when None.
        work_root: local scratch folder of running stages; ``home/work`` when None.
        api_url: where the command line finds the API; from host and port when None.
        api_token: the administrator's bearer token; needed when the API listens beyond loopback.
        allowed_hosts: names, beside those of loopback and ``api_host``, by which clients and pages may reach the API,
            separated by commas. Beyond loopback every name is allowed when none is given.
        read_requires_token: asks for a token to read as well.
        event_streams_per_client: event streams that one address may have open at once.
        lease_seconds: how long a silent worker keeps a stage.
        heartbeat_seconds: period in which a worker renews its leases.
        sweep_seconds: period of housekeeping: expired leases, lost doorbells, the MLflow outbox.
        grace_seconds: time from SIGTERM to SIGKILL for a stage to write its checkpoint.
        checkpoint_seconds: how often a flow stage's finished clips are published, so that a lost host costs no more.
        stall_minutes: how long a stage may do nothing, neither report nor compute, before it is ended with the stacks
            of its threads in its log; 0 lets it, None leaves it to the kind: on for `index` and `flow`.
        cache_grace_seconds: age from which a collection takes files that no stage in the database names.
        frame_cache_gigabytes: what decoded frames may take below the data root; 0 keeps none.
        max_frame_megapixels: width x height of the largest frame that is decoded, in millions.
        max_decode_gigabytes: what the frames, or flow fields, of one clip that are held at once may take.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = DEFAULT_HOME
    database_url: str | None = None
    redis_url: str | None = None
    mlflow_url: str | None = None
    artifact_root: str | None = None
    data_root: Path | None = None
    work_root: Path | None = None
    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=1, le=65535)
    api_url: str | None = None
    api_token: SecretStr | None = None
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    read_requires_token: bool = False
    event_streams_per_client: int = Field(20, ge=1)
    lease_seconds: float = Field(30, gt=0)
    heartbeat_seconds: float = Field(5, gt=0)
    sweep_seconds: float = Field(2, gt=0)
    grace_seconds: float = Field(30, ge=0)
    checkpoint_seconds: float = Field(60, ge=0)
    stall_minutes: float | None = Field(None, ge=0)
    cache_grace_seconds: float = Field(86400, ge=0)
    frame_cache_gigabytes: float = Field(0, ge=0)
    max_frame_megapixels: float = Field(MAX_FRAME_MEGAPIXELS, gt=0)
    max_decode_gigabytes: float = Field(MAX_DECODE_GIGABYTES, gt=0)

    @field_validator(*ADDRESSES)
    @classmethod
    def _address(cls, url: str | None, info: ValidationInfo) -> str | None:
        """Refuse what is no address of such a server; its password is not repeated."""
        looks, pattern = ADDRESSES[str(info.field_name)]
        if url is not None and re.fullmatch(pattern, url) is None:
            raise refused("", _shown(url), looks)
        return url

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _host_names(cls, given: object) -> object:
        """Take a list with commas apart; refuse what is no name or address of a host, such as one with a port."""
        names = [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given
        for name in names if isinstance(names, list) else ():
            if HOST_NAME.fullmatch(name) is None:
                raise refused("", name, "names or addresses of hosts without port, separated by commas")
        return names

    @model_validator(mode="after")
    def _token_for_readers(self) -> Self:
        if self.read_requires_token and self.api_token is None:
            raise refused("api_token", None, f"a token, needed because {variable('read_requires_token')} is true")
        return self

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        if not is_loopback(self.api_host) and self.api_token is None:
            why = f"needed because {variable('api_host')} is {self.api_host!r}, beyond loopback"
            raise refused("api_token", None, f"a token, {why}")
        return self

    @model_validator(mode="after")
    def _lease_outlasts_heartbeats(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            allowed = f"at least twice {variable('heartbeat_seconds')} = {self.heartbeat_seconds}"
            raise refused("lease_seconds", self.lease_seconds, allowed)
        return self

    @property
    def artifacts(self) -> str:
        """Root of stage outputs, as a path or URL."""
        return self.artifact_root or str(self.home / "artifacts")

    @property
    def data(self) -> Path:
        """Folder of generated datasets."""
        return self.data_root or self.home / "data"

    @property
    def work(self) -> Path:
        """Scratch folder of running stages on this host."""
        return self.work_root or self.home / "work"

    @property
    def patience_seconds(self) -> float:
        """How long one answer of Postgres may take: short enough that a lease is asked for several times."""
        return min(10.0, self.lease_seconds / 3)

    @property
    def api_address(self) -> str:
        """Base URL of the API."""
        return self.api_url or f"http://{self.api_host}:{self.api_port}"


def load() -> Settings:
    """Return the settings of the environment.

    Raises:
        InvalidSettings: names each wrong variable, its value and what is allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings("\n  ".join(_sentence(detail) for detail in error.errors())) from None


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def _sentence(detail: ErrorDetails) -> str:
    """Word one of pydantic's errors."""
    name, value = ".".join(map(str, detail["loc"])), detail["input"]
    allowed = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if detail["type"] == REFUSED:
        name, value, allowed = name or detail["ctx"]["field"], detail["ctx"]["value"], detail["ctx"]["allowed"]
    return sentence(variable(name), value, allowed, nothing="not set")


def _shown(url: str) -> str:
    """Return a URL without what may be a password."""
    return re.sub(r"[^/]*@", "***@", url)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
