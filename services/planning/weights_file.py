"""Files of weights that a spec names: known by their hash, which is a part of a stage's key."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from services.errors import InvalidRequest
from services.specs import MAX_WEIGHTS_BYTES


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
        raise InvalidRequest(field, weights, "an absolute path, or one of the names in the field's description")
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
