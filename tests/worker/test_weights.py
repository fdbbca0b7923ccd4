"""Files of weights that a spec names: every way to be bad ends in an error of the user's, and quotes nothing."""

from __future__ import annotations

import os
import pickle
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import models
from models import backbones
from services.bundles.torch_file import TorchFile
from services.errors import Cause, UserError
from services.params import BackboneParams, FlowMethodParams
from services.specs import MAX_WEIGHTS_BYTES
from worker.stages.backbone import build_backbone
from worker.stages.released import named_as_ours
from worker.stages.start import load_network
from worker.video.flow import batched
from worker.weights import library_weights, read_state_dict

SECRET = "root:x:0:0:hunter2"


class Code:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"echo {SECRET}",)


def archive(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a state dict with its parts changed."""
    torch.save({"weight": torch.arange(64.0)}, path)
    with zipfile.ZipFile(path) as whole:
        parts = {entry.filename: whole.read(entry) for entry in whole.infolist()}
    with zipfile.ZipFile(path, "w", compression) as changed:
        for name, content in parts.items():
            changed.writestr(name, change(name, content))


def cut(path: Path, save: Callable[[Path], object]) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def symlink(path: Path) -> None:
    path.with_name("target").write_text(f"{SECRET}\n{SECRET}\n")
    path.symlink_to(path.with_name("target"))


def tiny() -> dict[str, torch.Tensor]:
    return backbones.build("tiny").network.state_dict()


def in_itself() -> dict[str, object]:
    content: dict[str, object] = {}
    content["state_dict"] = content
    return content


BAD: dict[str, Callable[[Path], object]] = {
    "missing.pt": lambda path: None,
    "no/such/folder.pt": lambda path: None,
    "dangling.pt": lambda path: path.symlink_to(path.with_name("nothing")),
    "loop.pt": lambda path: path.symlink_to(path),
    "folder.pt": lambda path: path.mkdir(),
    "fifo.pt": os.mkfifo,
    "empty.pt": lambda path: path.touch(),
    "empty.safetensors": lambda path: path.touch(),
    "text.pt": lambda path: path.write_text(SECRET),
    "symlink.pt": symlink,
    "symlink.safetensors": symlink,
    "number.pt": lambda path: path.write_text(f"I{SECRET}\n."),
    "global.pt": lambda path: path.write_text(f"c{SECRET}\n{SECRET}\n."),
    "one-line.pt": lambda path: path.write_text("c" * 100_000),
    "pickle.pt": lambda path: path.write_bytes(pickle.dumps({SECRET: 1})),
    "code.pt": lambda path: torch.save({"weight": Code()}, path),
    "old code.pt": lambda path: torch.save({"weight": Code()}, path, _use_new_zipfile_serialization=False),
    "module.pt": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "cut.pt": lambda path: cut(path, lambda p: torch.save(tiny(), p)),
    "cut old.pt": lambda path: cut(path, lambda p: torch.save(tiny(), p, _use_new_zipfile_serialization=False)),
    "cut.safetensors": lambda path: cut(path, lambda p: save_file(tiny(), p)),
    "zip.pt": lambda path: zipfile.ZipFile(path, "w").writestr(SECRET, SECRET),
    "short record.pt": lambda path: archive(path, lambda name, part: part[:8] if name.endswith("data/0") else part),
    "broken pickle.pt": lambda path: archive(path, lambda name, part: part[:-9] if name.endswith("data.pkl") else part),
    "text.safetensors": lambda path: path.write_text(SECRET),
    "header.safetensors": lambda path: path.write_bytes((2**60).to_bytes(8, "little") + SECRET.encode()),
    "torch.safetensors": lambda path: torch.save(tiny(), path),
    "safetensors.pt": lambda path: save_file(tiny(), path),
    "list.pt": lambda path: torch.save([torch.zeros(1)], path),
    "nothing.pt": lambda path: torch.save({}, path),
    "tensor.pt": lambda path: torch.save(torch.zeros(1), path),
    "words.pt": lambda path: torch.save({SECRET: SECRET}, path),
    "numbered.pt": lambda path: torch.save({1: torch.zeros(1)}, path),
    "nested.pt": lambda path: torch.save({"state_dict": {"model": {"state_dict": {"weight": SECRET}}}}, path),
    "sparse.pt": lambda path: torch.save({"weight": torch.eye(2).to_sparse()}, path),
    "meta.pt": lambda path: torch.save({"weight": torch.zeros(2, device="meta")}, path),
    "complex.pt": lambda path: torch.save({"weight": torch.zeros(2, dtype=torch.complex64)}, path),
    "quantized.pt": lambda path: torch.save(
        {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)}, path
    ),
    "nan.pt": lambda path: torch.save(tiny() | {"0.weight": torch.full((16, 3, 3, 3), torch.nan)}, path),
    "infinite.safetensors": lambda path: save_file({"weight": torch.tensor([1.0, torch.inf])}, path),
    "in itself.pt": lambda path: torch.save(in_itself(), path),
    "huge.pt": lambda path: os.truncate(path, 2**40) if path.touch() is None else None,
    "huge.safetensors": lambda path: os.truncate(path, 2**40) if path.touch() is None else None,
}


FLOATS = {name: value for name, value in tiny().items() if value.is_floating_point()}


def refused(run: Callable[[], object], path: Path, field: str) -> str:
    with pytest.raises(UserError) as caught:
        run()
    message = str(caught.value)
    assert caught.value.cause == Cause.USER_ERROR
    assert message.startswith(f"{field}: {path}")
    assert "expected" in message
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "hunter2" not in told
    assert "\n" not in message
    return message


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_the_users_error_and_is_not_quoted(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    BAD[name](path)
    refused(lambda: read_state_dict(path, "backbone.weights"), path, "backbone.weights")


@pytest.mark.parametrize("name", ["missing.pt", "fifo.pt", "symlink.pt", "code.pt", "numbered.pt", "another.pt"])
@pytest.mark.parametrize("field", ["backbone.weights", "flow.weights"])
def test_whoever_takes_a_file_refuses_it(field: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (BAD | {"another.pt": lambda path: torch.save({SECRET: torch.zeros(1)}, path)})[name](path)

    def build() -> object:
        if field == "backbone.weights":
            return build_backbone(BackboneParams(name="tiny", weights=str(path)), "rgb", 1)
        raft = FlowMethodParams(algorithm="raft", bound=20.0, raft="small", weights=str(path))
        return batched.build(raft, torch.device("cpu"))

    refused(build, path, field)


def test_devices_and_sockets_are_no_files_of_weights() -> None:
    for path in map(Path, ("/dev/zero", "/dev/null", "/proc/self/mem")):
        refused(lambda path=path: read_state_dict(path, "backbone.weights"), path, "backbone.weights")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "locked.pt"
    torch.save(tiny(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        path = Path("/proc/1/mem") if not os.access("/proc/1/mem", os.R_OK) else Path("/proc/self/mem")
    refused(lambda: read_state_dict(path, "backbone.weights"), path, "backbone.weights")


def test_a_name_with_a_null_character_is_no_name() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        read_state_dict(Path("/tmp/a\0b"), "backbone.weights")


def test_what_unpacks_to_more_than_allowed_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    archive(path, lambda name, part: bytes(2 << 20) if name.endswith("data/0") else part, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    message = refused(lambda: read_state_dict(path, "backbone.weights", 1 << 20), path, "backbone.weights")
    assert "unpacks to" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"0.weight": torch.zeros(16, 4, 3, 3)}, "0.weight has shape [16, 4, 3, 3], expected [16, 3, 3, 3]"),
        (
            {"0.weight": torch.zeros(16, 3, 3, 3, dtype=torch.int64)},
            "0.weight has type torch.int64, expected torch.float32",
        ),
        ({SECRET: torch.zeros(1)}, "other names are unknown: 1"),
        ({"1.weight": None}, "1.weight is missing"),
    ],
)
def test_weights_of_another_network_say_what_was_expected(tmp_path: Path, changes: dict, words: str) -> None:
    state = {name: value for name, value in (tiny() | changes).items() if value is not None}
    torch.save(state, tmp_path / "x.pt")
    run = lambda: build_backbone(BackboneParams(name="tiny", weights=str(tmp_path / "x.pt")), "rgb", 1)  # noqa: E731
    with pytest.raises(UserError) as caught:
        run()
    assert words in str(caught.value)
    assert "x.pt: weights of another architecture" in str(caught.value)
    assert "hunter2" not in str(caught.value)


WRAPPED: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, object]]] = {
    "wrapped": lambda state: {"epoch": 3, "state_dict": state},
    "of a tutorial": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}},
    "wrapped twice": lambda state: {"model": {"epoch": 3, "state_dict": state}},
    "in parallel": lambda state: prefixed("module.", state),
    "compiled in parallel": lambda state: prefixed("_orig_mod.module.", state),
    "of lightning": lambda state: {"state_dict": prefixed("model.", state), "global_step": 3, "loops": {}},
    "averaged": lambda state: {"n_averaged": torch.tensor(4), **prefixed("module.", state)},
    "of our own backbone": lambda state: prefixed("network.", state),
}
"""What other programs make of a state dict, as they file it."""


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize("program", WRAPPED)
def test_what_other_programs_put_around_a_state_dict_is_taken_away(program: str, tmp_path: Path) -> None:
    """Of backbones and of networks; and a bundle reads of the file what training did."""
    path, state = tmp_path / "x.pt", {name: torch.randn_like(value) for name, value in FLOATS.items()}
    torch.save(WRAPPED[program](tiny() | state), path)
    built = build_backbone(BackboneParams(name="tiny", weights=str(path)), "rgb", 1)
    assert all(torch.equal(built.network.state_dict()[name], value) for name, value in state.items())
    with TorchFile(path) as file:
        assert file.tensors.keys() == read_state_dict(path, "backbone.weights").keys()
    network = models.build("ts_lstm", num_classes=3, feature_shape=(4,), hidden=(5,))
    other = models.build("ts_lstm", num_classes=3, feature_shape=(4,), hidden=(5,)).state_dict()
    torch.save(WRAPPED[program](other), path)
    assert load_network(network, named_as_ours(network, read_state_dict(path, "model.weights")).state) == ()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in other.items())


@pytest.mark.parametrize("save", ["torch", "old torch", "safetensors", "half"])
def test_a_good_file_is_read(tmp_path: Path, save: str) -> None:
    state = tiny()
    path = tmp_path / ("x.safetensors" if save == "safetensors" else "x.pt")
    {
        "torch": lambda: torch.save(state, path),
        "old torch": lambda: torch.save(state, path, _use_new_zipfile_serialization=False),
        "safetensors": lambda: save_file(state, path),
        "half": lambda: torch.save({n: v.half() if v.is_floating_point() else v for n, v in state.items()}, path),
    }[save]()
    built = build_backbone(BackboneParams(name="tiny", weights=str(path)), "rgb", 1)
    for name, value in built.network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-3)


def test_a_library_whose_cache_is_broken_is_named_with_a_hint() -> None:
    with (
        pytest.raises(UserError, match=r"^backbone\.weights: imagenet weights of x cannot .* hint: remove") as caught,
        library_weights("backbone.weights", "imagenet weights of x"),
    ):
        raise pickle.UnpicklingError(SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_too_little_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(tiny(), tmp_path / "x.pt")

    def load(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        read_state_dict(tmp_path / "x.pt", "backbone.weights")


def test_the_limit_is_far_above_any_backbone() -> None:
    with torch.device("meta"):
        largest = backbones.build("vgg16")
    assert 10 * sum(value.nbytes for value in largest.parameters()) < MAX_WEIGHTS_BYTES
