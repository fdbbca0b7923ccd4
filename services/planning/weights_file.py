"""Files of weights that a spec names: known by their hash, which is a part of a stage's key."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path

from services.errors import InvalidRequest
from services.specs import MAX_WEIGHTS_BYTES


@dataclass
class Digests:
    """`file_digest` of files that are each read once; ``known`` are by what the spec calls them."""

    known: dict[str, str | None] = field(default_factory=dict)

    def of(self, field: str, weights: str) -> str | None:
        """Return the digest of a file; see `file_digest`."""
        if weights not in self.known:
            self.known[weights] = file_digest(field, weights)
        return self.known[weights]


def _names(field: str) -> str:
    """Return what the weights of a field may be that are no file: of flow, of a network, or of a backbone."""
    if field == "flow.weights":
        return "default"
    return "none" if field.endswith("model.weights") else "none, imagenet"


def file_digest(field: str, weights: str) -> str | None:
    """Return the SHA-256 of a file of weights, or None where only the workers may have it.

    A file that is missing from a folder that is there is missed now, not hours later by a stage.

    Args:
        field: of the spec, for messages.
        weights: an absolute path, or a name that is no file.

    Raises:
        InvalidRequest: the file is not there, or cannot be one of weights.
    """
    if weights in {"none", "imagenet", "default"}:
        return None
    path = Path(weights)
    if not path.is_absolute() or "\0" in weights:
        raise InvalidRequest(field, weights, f"{_names(field)}, or the absolute path of a file")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_WEIGHTS_BYTES:
            raise InvalidRequest(field, weights, f"a regular file of 1 to {MAX_WEIGHTS_BYTES} bytes")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        if path.parent.is_dir():
            raise InvalidRequest(field, weights, "a file that is there") from error
    except OSError:  # it may be there for the workers, or open to them; one that cannot read it says so by name
        pass
    return None
