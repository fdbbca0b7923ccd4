"""What a stage said becomes what Postgres holds."""

from __future__ import annotations

import json
import math

from services.db.storable import storable, storable_text


def test_what_postgres_does_not_hold_is_replaced() -> None:
    assert storable_text("a\0b\ud800c\udfffd") == "a\ufffdb\ufffdc\ufffdd"
    assert storable_text("人 \n") == "人 \n"


def test_texts_keys_and_numbers_are_storable_however_deep_they_lie() -> None:
    said = {"a\0": [1, math.nan, {"b": (math.inf, -math.inf, "c\ud800")}], "fine": 0.5}
    found = storable(said)
    assert found == {"a\ufffd": [1, "nan", {"b": ["inf", "-inf", "c\ufffd"]}], "fine": 0.5}
    json.dumps(found, allow_nan=False)
