"""State dicts of torch.save, read without torch: each tensor's bytes are torch's own, and nothing is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from models.backbones import weights
from services.bundles import torch_file
from services.bundles.safetensors_file import packed
from services.bundles.torch_file import TorchFile
from services.errors import DataError
from worker.stages.seen import Seen, SeenSplit, marked

SHARED = torch.arange(24, dtype=torch.float32)
TENSORS: dict[str, torch.Tensor] = {
    "whole": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "number": torch.tensor(7),
    "nothing": torch.zeros(0, 3),
    "part of a storage": SHARED[4:10],
    "turned": SHARED.reshape(4, 6).t(),
    "every second one": SHARED.reshape(4, 6)[:, ::2],
    "one again and again": SHARED[3:4].expand(5),
    "a row": SHARED.as_strided((1, 4), (1, 1), 2),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "long": torch.randn(2**19 + 3),
    **{
        str(dtype): torch.tensor([0, 1, 1]).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.uint8,
                      torch.bool)
    },
}  # fmt: skip


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def as_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], TorchFile]:
    with TorchFile(path) as file:
        size, chunks = packed(file)
        content = b"".join(chunks())
    assert len(content) == size
    return load(content), file


def test_each_tensor_begins_at_a_multiple_of_its_width(tmp_path: Path) -> None:
    with TorchFile(saved(tmp_path / "model.pt", TENSORS)) as file:
        content = b"".join(packed(file)[1]())
        widths = {name: tensor.width for name, tensor in file.tensors.items()}
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert {name: about["data_offsets"][0] % widths[name] for name, about in header.items()} == dict.fromkeys(
        TENSORS, 0
    )


def test_what_a_script_files_beside_its_weights_is_left_out(tmp_path: Path) -> None:
    """What torch itself takes for plain values: the state of an optimiser, sizes, types, devices, counts."""
    beside = {
        "step": torch.tensor(3.0),
        "size": torch.Size([2, 3]),
        "type": torch.float32,
        "device": torch.device("cpu"),
        "counts": Counter("epoch"),
        "groups": [{"lr": 0.1, "params": {0, 1}}],
    }
    path = saved(tmp_path / "model.pt", {"state_dict": TENSORS, "optimizer": beside, "epoch": 3})
    assert torch.load(path, weights_only=True)["optimizer"].keys() == beside.keys()
    assert as_safetensors(path)[0].keys() == TENSORS.keys()


def test_wrappers_are_those_of_training() -> None:
    assert (torch_file.WRAPPERS, torch_file.DEEPEST) == (weights.WRAPPERS, weights.DEEPEST)


@pytest.mark.parametrize("wrapped", [None, *torch_file.WRAPPERS])
def test_tensors_are_those_that_torch_reads(tmp_path: Path, wrapped: str | None) -> None:
    state = OrderedDict(TENSORS)
    found, _ = as_safetensors(saved(tmp_path / "model.pt", state if wrapped is None else {"epoch": 3, wrapped: state}))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found[name], tensor), name


def test_what_weights_have_seen_is_read(tmp_path: Path) -> None:
    seen = Seen((SeenSplit("ucf101", 1, "0" * 64),), complete=False)
    network = torch.nn.Linear(2, 3)
    _, file = as_safetensors(saved(tmp_path / "model.pt", marked(network.state_dict(), seen)))
    expected = {"splits": [{"dataset": "ucf101", "split": 1, "digest": "0" * 64}], "complete": False, "chosen": []}
    assert file.seen == expected


class Poison:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self._file,)


def test_a_poisoned_file_runs_no_code(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = saved(tmp_path / "model.pt", {"weight": torch.zeros(2), "more": Poison(proof)})
    torch.load(path, weights_only=False)
    assert proof.exists(), "the file is poisoned indeed"
    proof.unlink()
    with pytest.raises(DataError, match=r"model\.pt: no state dict of torch\.save"):
        TorchFile(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no file of torch.save, or cut off"),
        (b"PK\x03\x04 and then nothing", "no file of torch.save, or cut off"),
        (pickle.dumps({"weight": 1}), "no file of torch.save, or cut off"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        TorchFile(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(2)], {}, {3: torch.zeros(2)}])
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"model\.pt: holds"):
        TorchFile(saved(tmp_path / "model.pt", content))


def test_numbers_with_the_higher_byte_first_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"weight": SHARED})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"big" if name.endswith("/byteorder") else content)
    with pytest.raises(DataError, match="the higher byte first, allowed: the lower one"):
        TorchFile(path)


def test_a_storage_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"weight": torch.zeros(100), "turned": torch.zeros(10, 10).t()})
    source, target = zipfile.ZipFile(path), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for member in source.infolist():
            content = source.read(member)
            archive.writestr(member.filename, content[:40] if "/data/" in member.filename else content)
    path.write_bytes(target.getvalue())
    with TorchFile(path) as file:
        for name in ("weight", "turned"):
            with pytest.raises(DataError, match=f"model.pt: {name} is cut off or broken"):
                b"".join(file.chunks(name))
