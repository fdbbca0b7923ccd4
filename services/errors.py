"""Every error that a caller can answer for.

TwostreamError
├── InvalidRequest        a value that the caller can mend: names field, value and what is allowed
│   └── AlteredCursor     a cursor that is none that we gave for this listing
├── Refused               an experiment whose numbers would be wrong: has what the linter found
├── NotFound              an id or name that nothing has
├── Forbidden             it belongs to another user
├── Conflict              the state does not allow it (cancel of a finished experiment, key reused)
├── Unavailable           a server is away: names its address
│   ├── Denied            it is there and says no: waiting helps nobody
│   └── Contended         another transaction was in the way: `Database.run` tries again
├── InvalidSettings       variables of the environment that cannot be: names each, its value and what is allowed
├── StageError            a stage cannot go on; ``cause`` says why
│   ├── DataError         a file, list or clip is wrong
│   ├── OutOfMemory       a step of training does not fit into memory
│   └── UserError         what the spec asks for cannot be done
└── LeaseLost             the attempt no longer owns its stage: stop, touch nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

REFUSED = "refused"
"""Type of the errors of our own validators, beside those of pydantic."""


class Cause(StrEnum):
    """Why an attempt ended without a result."""

    USER_ERROR = "user_error"
    DATA_ERROR = "data_error"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    CUDA_ERROR = "cuda_error"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class TwostreamError(Exception):
    """Base of every error below."""


class InvalidRequest(TwostreamError):
    """A request that its sender can mend.

    Args:
        field: dotted name of the field, such as ``model.segments``.
        value: what was given.
        allowed: what is allowed, in words or as a list.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(sentence(field, value, allowed))
        self.field, self.value, self.allowed = field, value, allowed


class AlteredCursor(InvalidRequest):
    """A cursor that was altered on its way, or belongs to another listing."""


@dataclass(frozen=True)
class Finding:
    """What makes the numbers of an experiment wrong, or doubtful.

    Attributes:
        code: by which programs know it, such as ``group_on_both_sides``.
        severity: ``refused`` where they would be wrong, ``flagged`` where they are doubtful.
        field: of the spec.
        sentence: in words.
    """

    code: str
    severity: Literal["refused", "flagged"]
    field: str
    sentence: str


class Refused(TwostreamError):
    """An experiment whose numbers would be wrong; ``findings`` are all, the doubtful ones too."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.sentence}" for each in findings if each.severity == "refused"))
        self.findings = tuple(findings)


class NotFound(TwostreamError):
    """Nothing has this id or name."""

    def __init__(self, kind: str, name: object, hint: str = "") -> None:
        super().__init__(f"no {kind} named {name!r}" + (f"; hint: {hint}" if hint else ""))
        self.kind, self.name = kind, name


class Forbidden(TwostreamError):
    """The caller may not do this to what another user owns."""


class Conflict(TwostreamError):
    """The present state does not allow the request."""


class Unavailable(TwostreamError):
    """A server does not answer; the message names its address."""


class Denied(Unavailable):
    """A server answers that it has no such thing, or not for us, or no space."""


class Contended(Unavailable):
    """Another transaction was in the way: a deadlock, a lock that was not to be had, rows that came meanwhile."""


class InvalidSettings(TwostreamError):
    """Wrong variables of the environment; the message has a line for each."""


class StageError(TwostreamError):
    """A stage that cannot go on; the subclass says why."""

    cause: Cause = Cause.INTERNAL


class DataError(StageError):
    """A file, a list or a clip is missing or wrong; the message names the file, and the line where there is one."""

    cause = Cause.DATA_ERROR


class UserError(StageError):
    """The spec asks for what cannot be done, such as weights of another architecture."""

    cause = Cause.USER_ERROR


class OutOfMemory(StageError):
    """A step of training does not fit into memory; the message says what was needed, and what helps."""

    cause = Cause.OUT_OF_MEMORY


class LeaseLost(TwostreamError):
    """A fenced write changed no row: another attempt owns the stage, or it was cancelled."""


def refused(field: str, value: object, allowed: str) -> PydanticCustomError:
    """Return what a validator raises; pydantic keeps field, value and allowed as the error's context.

    Args:
        field: dotted name below the model whose validator raises, such as ``training.batch_size``; empty where the
            validator is of a single value, whose name pydantic knows.
        value: what was given, as JSON has it.
        allowed: what is allowed, in words.
    """
    from pydantic_core import PydanticCustomError  # noqa: PLC0415 - the command, which knows our errors, needs none

    context: dict[str, Any] = {"field": field, "value": value, "allowed": allowed}
    return PydanticCustomError(REFUSED, sentence(field, value, allowed).removeprefix(": "), context)


def sentence(field: str, value: object, allowed: str, nothing: str = "nothing") -> str:
    """Word an error of a field; ``nothing`` stands for a value that was not given."""
    return f"{field}: {nothing if value is None else f'got {value!r}'}, allowed: {allowed}"


FEW = 5
"""Names that are all told, whichever is meant."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Word the names that are most like one, or all of them where they are few or none is like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - of errors alone, and every command loads this

    known = list(names)
    likely = get_close_matches(name, known, n=3, cutoff=0.5) if len(known) > FEW else known
    told = likely or known
    return told[0] if len(told) == 1 else f"one of {', '.join(told)}"
