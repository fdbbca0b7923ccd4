import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.video.decoding.decode import DecodeFailed
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.inspection import inspect_clip
from worker.video.survey.isolation import Inspector

CHILD = """
import os, sys, time
sys.path.insert(0, {repository!r})
from worker.video.survey.inspection import inspect_clip
from worker.video.survey.isolation import serve
assert "services.specs" not in sys.modules, "each child would pay for the imports"

def inspect(path, count, count_bytes):
    if "good" in path.name:
        return inspect_clip(path, count, count_bytes)
    count(3)
    if "large" in path.name:
        for part in range(1, 25):
            count_bytes(part)
            time.sleep(0.25)  # shorter than the patience of the test, and longer than it with the other parts
        return inspect_clip(path.with_name("good.avi"))
    if "away" in path.name:
        count_bytes(7)
        time.sleep(60)  # a store that hangs: longer than any patience of these tests
    if "slow" in path.name:
        time.sleep(60)  # a decoder that hangs: longer than any patience of these tests
    os.abort()

serve(int(sys.argv[1]), inspect)
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_avi(tmp_path / "good.avi", np.full((5, 32, 48, 3), 99, np.uint8))
    return tmp_path / "good.avi"


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "child.py").write_text(CHILD.format(repository=str(Path(__file__).parents[4])))
    return sys.executable, str(tmp_path / "child.py")


def test_a_clip_is_inspected_in_another_process(good: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.avi").write_bytes(b"no video")
    with Inspector() as inspector:
        for _ in range(2):
            found = inspector.inspect(good)
            assert (found.frames, found.width, found.height) == (5, 48, 32)
            assert found.sha256 == hashlib.sha256(good.read_bytes()).hexdigest()
            assert found.size == good.stat().st_size
            assert "pyav" in found.decoder
            with pytest.raises(DecodeFailed, match=r"bad\.avi: frame 0: Invalid data"):
                inspector.inspect(tmp_path / "bad.avi")


def test_a_crash_costs_a_clip_and_not_the_process(good: Path, command: tuple[str, ...]) -> None:
    with Inspector(command=command) as inspector:
        with pytest.raises(DecodeFailed, match=r"crash\.avi: frame 3: the decoder crashed: SIGABRT"):
            inspector.inspect(good.with_name("crash.avi"))
        assert inspector.inspect(good).frames == 5


def test_a_decoder_that_hangs_is_ended(good: Path, command: tuple[str, ...]) -> None:
    with Inspector(silent_seconds=4.0, command=command) as inspector:
        with pytest.raises(DecodeFailed, match=r"slow\.avi: frame 3: the decoder hangs: no frame in 4 s"):
            inspector.inspect(good.with_name("slow.avi"))
        assert inspector.inspect(good).frames == 5


@pytest.mark.long
def test_a_clip_that_takes_long_to_hash_is_not_taken_for_a_decoder_that_hangs(
    good: Path, command: tuple[str, ...]
) -> None:
    with Inspector(silent_seconds=3.0, command=command) as inspector:
        assert inspector.inspect(good.with_name("large.avi")).frames == 5
        with pytest.raises(DecodeFailed, match=r"away\.avi: frame 3: hashing hangs after 7 bytes: no more in 3 s"):
            inspector.inspect(good.with_name("away.avi"))


def test_bytes_are_counted_as_they_are_hashed(good: Path) -> None:
    heard: list[int] = []
    good.write_bytes(good.read_bytes() + bytes(3 << 20))  # behind the last chunk, where nobody looks
    found = inspect_clip(good, on_bytes=heard.append)
    assert heard == [1 << 20, 2 << 20, 3 << 20, found.size]
    assert (found.size, found.sha256) == (good.stat().st_size, hashlib.sha256(good.read_bytes()).hexdigest())
