import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.video.decode import DecodeFailed
from worker.video.isolation import Inspector
from worker.video.motion_shapes import write_avi

CHILD = """
import os, sys, time
sys.path.insert(0, {repository!r})
from worker.video.inspection import inspect_clip
from worker.video.isolation import serve

def inspect(path, count):
    if "good" in path.name:
        return inspect_clip(path, count)
    count(3)
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
    (tmp_path / "child.py").write_text(CHILD.format(repository=str(Path(__file__).parents[3])))
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
