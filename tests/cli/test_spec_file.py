"""What a person wrote is what runs, or it is refused by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import INVALID, CommandError
from cli.spec_file import read_mapping, read_spec

TEXT = st.text(st.characters(exclude_characters="\x7f"))  # which JSON may hold as it is and YAML may not: refused
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training: {epochs: 7}\nmodel: {kind: lstm}\ntraining: {batch_size: 8}\n",
            "line 3: training: got a second value, allowed: each field once; it stands in line 1 too",
        ),
        (
            "training:\n  optimizer:\n    learning_rate: 0.1\n    name: sgd\n    learning_rate: 0.1\n",
            "line 5: training.optimizer.learning_rate: got a second value, allowed: each field once; it stands in",
        ),
        ('a:\n- {b: 1}\n- {"c": 1, c: 2}', "line 3: a.1.c: got a second value"),
        ('{"a": 1,\n "a": 1}', "line 2: a: got a second value"),
        ("base: &base {epochs: 7}\ntraining:\n  <<: *base\n", "line 3: training: got <<, allowed: fields; merge keys"),
        ("<<: [{a: 1}]", "line 1: the file: got <<, allowed: fields; merge keys are not read"),
        ("1: x", "line 1: the file: got '1' for a field's name, allowed: text; put it in quotes"),
        ("a:\n  true: x", "line 2: a: got 'true' for a field's name"),
        ("null: x", "got 'null' for a field's name"),
        ("? \n: x", "line 1: the file: got nothing, allowed: null, or a value"),
        ("[a]: x", "got a sequence for a field's name, allowed: text"),
        ("? {a: 1}\n: x", "got a mapping for a field's name, allowed: text"),
        ("on: x", "line 1: the file: got on, allowed: true or false, or a text in quotes"),
        ("2026-01-01: x", "got 2026-01-01, allowed: a text in quotes; without them YAML takes it for a date"),
        (
            "a: 2026-01-01",
            "line 1: a: got 2026-01-01, allowed: a text in quotes; without them YAML takes it for a date",
        ),
        ("a: 2026-13-01", "got 2026-13-01, allowed: a text in quotes"),
        ("a: 2026-01-01T10:00:00Z", "takes it for a date"),
        *(
            (f"a:\n  b: {word}", f"line 2: a.b: got {word}, allowed: true or false")
            for word in ("no", "Yes", "OFF", "on")
        ),
        *(
            (f"a: {number}", f"line 1: a: got {number}, allowed: a decimal number without leading zeros")
            for number in ("010", "08", "0o17", "0x1F", "0b11", "1_000", "12:30", "-012")
        ),
        *(
            (f"a: {n}", f"got {n}, allowed: a finite decimal number")
            for n in (".inf", "-.INF", ".nan", "1_0.5", "1:30.5")
        ),
        ("a:", "line 1: a: got nothing, allowed: null, or a value"),
        ("a:\n- \n- 1", "line 2: a.0: got nothing"),
        ("a: =", "got =, allowed: a text in quotes"),
        ("a: !!python/name:os.system x", "line 1: a: got the tag tag:yaml.org,2002:python/name:os.system, allowed: "),
        ("a: !!int '3'", "got the tag tag:yaml.org,2002:int, allowed: values without tags"),
        ("a: !!str 3", "got the tag tag:yaml.org,2002:str"),
        ("a: !!binary aGVsbG8=", "got the tag"),
        ("a: !!set {b: null}", "got the tag"),
        ("a: !env HOME", "got the tag !env"),
        ("a: 1\n---\nb: 2", "not YAML: expected a single document"),
        ("a: &a [*a]", "got so much, allowed: 32 levels and 100000 values, aliases counted"),
        ("a: b\nc: d\x07", "line 2: got '\\x07', allowed: text in UTF-8 without control characters"),
        ("a: \x00", "line 1: got '\\x00'"),
        ("a: \udcff", "line 1: got '\\udcff'"),
        ("- a", "got list, allowed: a mapping of fields"),
        ("", "got NoneType, allowed: a mapping of fields"),
    ],
)
def test_what_may_not_mean_what_it_seems_is_refused(text, message):
    with pytest.raises(CommandError) as refused:
        read_mapping(text, "spec.yaml")
    assert refused.value.exit_code == INVALID
    assert str(refused.value).startswith("spec.yaml: ")
    assert message in str(refused.value)


def test_aliases_that_grow_without_bound_are_refused():
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(CommandError, match="100000 values, aliases counted"):
        read_mapping("\n".join(lines), "spec.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("5.0e-4", 0.0005), ("1E3", 1000.0), ("1.5e2", 150.0),
        (".5", 0.5), ("1.", 1.0), ("-0.5", -0.5),
        ("7", 7), ("-7", -7), ("+7", 7), ("0", 0), ("0.0", 0.0),
        ("true", True), ("False", False), ("null", None), ("~", None),
        ("'no'", "no"), ('"010"', "010"), ("'2026-01-01'", "2026-01-01"), ("y", "y"), ("n", "n"), ("1.2.3", "1.2.3"),
        ("exp-1", "exp-1"), ("a b", "a b"), ("1 clip", "1 clip"), ("|\n  no\n", "no\n"), ("''", ""), ("e5", "e5"),
        ("[no-ise, 1]", ["no-ise", 1]), ("{b: 1}", {"b": 1}), ("[]", []), ("{}", {}),
    ],
)  # fmt: skip
def test_what_is_plain_is_read_as_written(text, value):
    found = read_mapping(f"a: {text}", "spec.yaml")["a"]
    assert (found, type(found)) == (value, type(value))


def test_anchors_are_written_out():
    assert read_mapping("a: &x {n: [1]}\nb: *x", "spec.yaml") == {"a": {"n": [1]}, "b": {"n": [1]}}


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_a_json_file_means_what_json_means(content):
    assert read_mapping(json.dumps(content), "spec.json") == content


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "spec.yaml").write_bytes(b"a: \xff")
    with pytest.raises(CommandError, match=r"spec\.yaml: 'utf-8' codec"):
        read_spec(tmp_path / "spec.yaml")
