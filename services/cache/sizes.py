"""Sizes as people write them: ``200GB``, ``1.5 TiB``, ``0``."""

from __future__ import annotations

import re

from services.errors import refused

UNITS = {"": 1, "B": 1} | {
    f"{letter}{ending}": base**power
    for base, ending in ((1000, "B"), (1024, "IB"))
    for power, letter in enumerate("KMGT", start=1)
}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
PATTERN = r"^(?:[0-9]{1,18}[bB]?|[0-9]{1,6}(?:\.[0-9]{1,6})? ?[KMGTkmgt][iI]?[bB])$"
"""Of texts that are sizes; there are others, such as with more blanks."""
ALLOWED = "a number of bytes, or a text such as 200GB, 1.5TB or 64GiB"
MAX_BYTES, MAX_CHARACTERS = 2**63 - 1, 100


def parse_bytes(size: object) -> int:
    """Return a size in bytes; KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024.

    Raises:
        PydanticCustomError: it is no size, as `refused` says.
    """
    number = _parse(size) if isinstance(size, str) else size
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_BYTES:
        raise refused("", size, ALLOWED)
    return number


def _parse(size: str) -> int | None:
    found = SIZE.fullmatch(size.strip())
    if found is None or len(size) > MAX_CHARACTERS or found[2].upper() not in UNITS:
        return None
    whole, _, part = found[1].partition(".")
    unit: int = UNITS[found[2].upper()]
    return int(whole + part) * unit // int("1" + "0" * len(part))  # whole numbers: exact, however large


def word_bytes(size: int) -> str:
    """Word a size in the decimal units that `parse_bytes` takes, with three digits."""
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for letter in "KMGT":
        number /= 1000
        if number < 999.5 or letter == "T":
            break
    return f"{number:.{max(0, 3 - len(str(int(number))))}f} {letter}B"
