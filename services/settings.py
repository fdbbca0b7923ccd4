"""Every setting, from environment variables that begin with `TWOSTREAM_`, as one frozen object."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services import json_text
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
EVERYBODY = "*"
"""Whose quota is for what others do not say."""
OWNER = re.compile(r"[*]|[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NOTICES = ("end", "failure", "best")
"""Of what users are told: an experiment succeeded or was cancelled, it failed, it leads a board."""


class Quota(BaseModel):
    """What an owner may run at once, and their share of the slots for which several wait."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    stages: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    gpus: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    share: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] | None = None


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
        quotas: of owners, as JSON: `{"*": {"gpus": 4}, "ana": {"stages": 2, "share": 2}}`; `*` is for what others do
            not say. `stages` and `gpus` bound what runs at once; of those who wait, who runs least by `share` is next.
        webhook_url: to which users are told how experiments end; no private address beyond loopback.
        webhook_secret: signs what goes there; needed with it.
        webhook_networks: private networks where it may be all the same, separated by commas: `10.1.0.0/16,fd00:1::/64`.
        notify_command: program and arguments, as a JSON list, that is run with the same on its standard input.
        notify_on: of what users are told: end, failure, best, separated by commas.
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

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(default_factory=lambda: Path.home() / ".twostream")
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
    quotas: Annotated[dict[str, Quota], NoDecode] = {}
    webhook_url: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    webhook_networks: Annotated[tuple[Network, ...], NoDecode] = ()
    notify_command: Annotated[tuple[str, ...], NoDecode] = ()
    notify_on: Annotated[tuple[str, ...], NoDecode] = NOTICES
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

    @field_validator("quotas", mode="before")
    @classmethod
    def _owners(cls, given: object) -> object:
        """Read JSON; refuse what is no name of an owner."""
        found = _json(given, dict, QUOTAS) if isinstance(given, str) else given
        for owner, quota in found.items() if isinstance(found, dict) else ():
            if OWNER.fullmatch(owner) is None or not isinstance(quota, dict | Quota):
                raise refused("", given, QUOTAS)
        return found

    @field_validator("notify_command", mode="before")
    @classmethod
    def _arguments(cls, given: object) -> object:
        """Read JSON: a program and its arguments, which no shell takes apart."""
        found = _json(given, list, COMMAND) if isinstance(given, str) else given
        if isinstance(found, list) and not (
            found and found[0] and all(isinstance(word, str) and "\0" not in word for word in found)
        ):
            raise refused("", given, COMMAND)
        return tuple(found) if isinstance(found, list) else found

    @field_validator("notify_on", mode="before")
    @classmethod
    def _notices(cls, given: object) -> object:
        names = tuple(name.strip() for name in given.split(",") if name.strip()) if isinstance(given, str) else given
        for name in names if isinstance(names, tuple) else ():
            if name not in NOTICES:
                raise refused("", name, ", ".join(NOTICES))
        return names

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        """Take a list with commas apart; refuse what is no private network, such as one that holds the internet."""
        names = [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given
        return tuple(map(_network, names)) if isinstance(names, list | tuple) else names

    @field_validator("webhook_url")
    @classmethod
    def _webhook(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_http(url.get_secret_value()):
            raise refused("", HIDDEN, "http://host/path or https://host/path, without user and password")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < LEAST_SECRET:
            raise refused("", HIDDEN, f"{LEAST_SECRET} characters at the least")
        return secret

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            why = f"a secret, needed because {variable('webhook_url')} is set"
            raise refused("webhook_secret", None, why)
        return self

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


HIDDEN = "***"
PRIVATE: tuple[Network, ...] = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""Networks of one's own (RFC 1918, RFC 6598, RFC 4193); link-local addresses, where clouds keep secrets, are none."""
NETWORKS = "networks such as 10.1.0.0/16 or fd00:1::/64, without bits beyond the prefix, separated by commas"
LEAST_SECRET = 16
QUOTAS = 'JSON such as {"*": {"gpus": 4}, "ana": {"stages": 2, "share": 2}}, by owner'
COMMAND = 'a JSON list of a program and its arguments, such as ["notify-send", "twostream"]'


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


KINDS = {"int_parsing": "integer", "float_parsing": "number", "bool_parsing": "true or false"}
"""What is allowed, by the types of pydantic's errors whose message also says why it is not that."""


def _sentence(detail: ErrorDetails) -> str:
    """Word one of pydantic's errors."""
    name, *inside = map(str, detail["loc"] or ("",))
    value = detail["input"]
    words = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    allowed = KINDS.get(detail["type"], words)
    if detail["type"] == "extra_forbidden":
        allowed = f"one of {', '.join(Quota.model_fields)}"  # the one setting that has fields
    if detail["type"] == REFUSED:
        name, value, allowed = name or detail["ctx"]["field"], detail["ctx"]["value"], detail["ctx"]["allowed"]
    return sentence(".".join((variable(name), *inside)), value, allowed, nothing="not set")


def _shown(url: str) -> str:
    """Return a URL without what may be a password."""
    return re.sub(r"[^/]*@", "***@", url)


def _json(text: str, kind: type, allowed: str) -> Any:
    try:
        found = json_text.parsed(text)
    except json_text.Twice as error:
        raise refused("", text, f"each field once; {error.field!r} stands twice") from error
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise refused("", text, allowed)
    return found


def _network(given: object) -> Network:
    """Return a private network.

    Raises:
        PydanticCustomError: it is none, is not written as one, or holds addresses of which some are not private.
    """
    try:
        network = ipaddress.ip_network(str(given))
    except ValueError:
        raise refused("", str(given), NETWORKS) from None
    if not any(network.version == own.version and network.subnet_of(own) for own in PRIVATE):  # type: ignore[arg-type]
        raise refused("", str(given), f"networks within {', '.join(map(str, PRIVATE))}, separated by commas")
    return network


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            bool(parts.hostname) and parts.scheme in ("http", "https") and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
