"""A bundle that is damaged, cut off, newer or none of ours is refused by name, whatever is wrong with it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.bundles.contents import Bundle, BundledStage
from services.bundles.files import BundleFile, write_bundle
from services.errors import DataError
from services.specs import TSLSTM, TrainingSpec
from services.stages import KINDS, FuseParams, ScoreParams, TrainParams

TRAIN, SCORE, FUSE = "train-0123456789ab", "score-0123456789ab", "fuse-0123456789ab"
COMMON: dict[str, Any] = {"split": 1, "streams": ("rgb",), "seed": 0, "model": TSLSTM()}
SEEN = {"input": {"kind": "spaced_features"}}
PARAMS = {
    TRAIN: TrainParams(**COMMON, **SEEN, training=TrainingSpec()),
    SCORE: ScoreParams(**COMMON, **SEEN, average="logits"),
    FUSE: FuseParams(dataset="shapes", split=1, seed=0, method="features", weights={"rgb": 1.0}),
}
INPUTS = {TRAIN: {}, SCORE: {"train": TRAIN}, FUSE: {"rgb": SCORE}}
WEIGHTS = f"weights/{TRAIN}.safetensors"


def stage(name: str) -> BundledStage:
    kind: Any = name.partition("-")[0]
    params = PARAMS[name].model_dump(mode="json")
    return BundledStage(
        name=name, kind=kind, version=KINDS[kind].version, label=kind, params=params, inputs=INPUTS[name]
    )


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole bundle."""
    file, weights = io.BytesIO(), tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save({"weight": torch.arange(4000, dtype=torch.float32)}, weights)
    about = {"twostream": "1", "name": "x", "experiment": "exp_1", "recipe": None, "dataset": "shapes", "split": 1}
    about |= {"seed": 0, "classes": ("Dark", "Light"), "format": "twostream model bundle", "version": 1}
    stages = tuple(map(stage, PARAMS))
    write_bundle(file, lambda written: Bundle(**about, stages=stages, weights=dict(written)), {TRAIN: weights})
    return file.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, value in files.items():
            archive.writestr(name, value)
    return file.getvalue()


def saying(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a bundle whose JSON is changed."""
    found = members(content)
    about = json.loads(found["bundle.json"])
    change(about)
    return zipped(found | {"bundle.json": json.dumps(about).encode()})


def refusal(tmp_path: Path, content: bytes) -> str:
    """Read a bundle with all its weights, and return why it is refused."""
    path = tmp_path / "system.zip"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused, BundleFile(path) as file:
        for name in file.contents.weights:
            file.unpack(name, tmp_path / "weights")
    assert not (tmp_path / "weights").exists(), "nothing half read is left"
    words = str(refused.value)
    assert words.startswith(f"{path} "), words
    return words.removeprefix(f"{path} ")


def test_a_whole_one_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "system.zip"
    path.write_bytes(content)
    with BundleFile(path) as file:
        file.unpack(TRAIN, tmp_path / "weights")
        assert [each.checked for each in file.contents.stages] == [*PARAMS.values()]
    assert (tmp_path / "weights").read_bytes() == members(content)[WEIGHTS]
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}, "equal bytes at any time"


def test_one_that_is_cut_off_anywhere_is_refused(tmp_path: Path, content: bytes) -> None:
    places = [*range(1, 100), *range(100, len(content), 251), *range(len(content) - 100, len(content))]
    for place in places:
        words = refusal(tmp_path, content[:place])
        assert "cut off" in words or "no zip" in words, (place, words)


def test_a_flipped_byte_of_what_is_read_is_found(tmp_path: Path, content: bytes) -> None:
    found = members(content)
    for name in found:
        begin = content.index(found[name])
        for place in range(begin, begin + len(found[name]), 97):
            flipped = bytearray(content)
            flipped[place] ^= 1
            assert f"is damaged: {name}" in refusal(tmp_path, bytes(flipped))


def test_a_flipped_byte_anywhere_is_refused_or_of_no_account(tmp_path: Path, content: bytes) -> None:
    whole, path = members(content), tmp_path / "system.zip"
    for place in range(0, len(content), 41):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        with contextlib.suppress(DataError), BundleFile(path) as file:
            file.unpack(TRAIN, tmp_path / "weights")
            assert (tmp_path / "weights").read_bytes() == whole[WEIGHTS]


def test_weights_of_another_checksum_are_refused(tmp_path: Path, content: bytes) -> None:
    found = members(content)
    other = found[WEIGHTS][:-1] + b"\x01"
    words = refusal(tmp_path, zipped(found | {WEIGHTS: other}))
    assert words == f"is damaged: {WEIGHTS} has another checksum than bundle.json says"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.pop(WEIGHTS), f"is damaged: {WEIGHTS} is missing"),
        (lambda found: found.pop("bundle.json"), "is no twostream model bundle, but a zip without bundle.json"),
        (lambda found: found.update({WEIGHTS: b"x"}), f"is damaged: {WEIGHTS} has 1 bytes, expected 16"),
        (lambda found: found.update({"bundle.json": b"{"}), "is damaged: bundle.json is no JSON"),
        (lambda found: found.update({"bundle.json": b"[" * 10**6}), "is damaged: bundle.json is no JSON"),
        (lambda found: found.update({"bundle.json": b"[]"}), "is no twostream model bundle: bundle.json says []"),
        (lambda found: found.update({"bundle.json": b"{}" + b" " * 2**24}), "allowed: 16777216"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, content: bytes, change: Any, words: str) -> None:
    found = members(content)
    change(found)
    assert words in refusal(tmp_path, zipped(found))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"GIF89a", "is no twostream model bundle: it is no zip"),
        (pickle.dumps({"weight": 1}), "is no twostream model bundle: it is no zip"),
        (zipped({"model.pt": b"x"}), "is no twostream model bundle, but a zip without bundle.json"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert refusal(tmp_path, content) == words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: about.update(version=2), "of version 2, allowed: up to 1; hint: a newer twostream wrote it"),
        (lambda about: about.update(version=None), "of version null, allowed: up to 1"),
        *[
            (
                lambda about, given=given: about.update(version=given),
                f"of version {json.dumps(given)}, allowed: up to 1",
            )
            for given in (True, 0, -1, 1.0, "1")
        ],
        (lambda about: about["stages"][1].update(version=0), "stages.1.version: Input should be greater"),
        (lambda about: about["stages"].insert(1, about["stages"][0]), f"{TRAIN}: its name is there twice"),
        (lambda about: about["classes"].append("Dark"), "classes: a name is there twice"),
        (
            lambda about: about["stages"][1]["inputs"].update(more=TRAIN),
            f"{SCORE}: its input more is none that it takes",
        ),
        (
            lambda about: about["stages"][2]["inputs"].update(rgb=TRAIN),
            f"{FUSE}: its input rgb is {TRAIN}, allowed: sc",
        ),
        (lambda about: about["stages"][1]["inputs"].update(finetune=TRAIN), "train and finetune, allowed: one of them"),
        (
            lambda about: about["stages"][1]["params"]["model"].update(weights="/etc/passwd"),
            "no path in a bundle is op",
        ),
        (lambda about: about["stages"][2]["params"]["weights"].update(rgb=-1), "weights.rgb: Input should be greater"),
        (
            lambda about: about["stages"][2]["params"]["weights"].update(rgb=float("nan")),
            "weights.rgb: Input should be a",
        ),
        (lambda about: about["stages"][1].update(version=99), "score-0123456789ab: of version 99, allowed: up to"),
        (lambda about: about.update(classes=[]), "bundle.json: classes"),
        (lambda about: about.pop("stages"), "bundle.json: stages: Field required"),
        (lambda about: about["stages"].pop(), "its last stage is no `fuse`"),
        (lambda about: about["stages"].reverse(), "its input score-0123456789ab is not there before it"),
        (lambda about: about["weights"].clear(), "train-0123456789ab: its weights are not there"),
        (lambda about: about["stages"][0].update(name="../../train"), "bundle.json: stages.0.name"),
        (lambda about: about["weights"].update({"../x": about["weights"][TRAIN]}), "bundle.json: weights"),
        (lambda about: about["stages"][1].update(kind="index"), "a bundle holds no stage of kind index"),
        (lambda about: about["stages"][1]["params"].update(average="medians"), "bundle.json: average"),
    ],
)
def test_what_it_may_not_say_is_refused(tmp_path: Path, content: bytes, change: Any, words: str) -> None:
    assert words in refusal(tmp_path, saying(content, change))


def test_what_could_grow_is_not_unpacked(tmp_path: Path, content: bytes) -> None:
    assert "has a compressed " in refusal(tmp_path, zipped(members(content), zipfile.ZIP_DEFLATED))


def test_a_field_that_is_there_twice_is_refused(tmp_path: Path, content: bytes) -> None:
    found = members(content)
    about = found["bundle.json"].decode()
    for field in ('"classes": [', '"kind": "score"', '"sha256": "'):
        twice = about.replace(field, f"{field.partition(':')[0]}: null, {field}", 1)
        words = refusal(tmp_path, zipped(found | {"bundle.json": twice.encode()}))
        assert words == f"is damaged: bundle.json has {field.partition(':')[0]} twice in one object"


@pytest.mark.parametrize("bit", [0, 5, 6])
def test_members_that_say_they_are_encrypted_are_refused(tmp_path: Path, content: bytes, bit: int) -> None:
    """Bits of a member's flags: encrypted, patched, strongly encrypted (APPNOTE.TXT, sec. 4.4.4)."""
    for name in members(content):
        entry = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode()))  # in the central directory
        changed = bytearray(content)
        changed[entry + 8] |= 1 << bit
        assert f"is damaged: {name} is cut off, or not as it was written" in refusal(tmp_path, bytes(changed))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "twice.zip"
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("bundle.json", members(content)["bundle.json"])
    assert refusal(tmp_path, path.read_bytes()) == "is damaged: bundle.json is there twice"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.zip", "is missing"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=f"{path} {words}"):
            BundleFile(path)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.zip"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(DataError, match=f"{path} is no regular file"):
            BundleFile(path)
    with pytest.raises(DataError, match="cannot be read: it is no file name"):
        BundleFile(tmp_path / "a\0b")
