"""Reading a clip again: the packets that are remembered give the frames of the whole clip, or are forgotten."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from worker.video.decoding.decode import DecodeFailed, FrameReader, decode_clip
from worker.video.survey.inspection import probe_clip

SHARED = Path(__file__).parents[5] / "shared/data/clips/UCF-101"


def write_clip(path: Path, *, num_frames: int = 40, b_frames: int = 0, seed: int = 0, codec: str = "mpeg4") -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num_frames, 6, 8, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    with av.open(str(path), "w") as container:
        options = {"g": "12", "bf": str(b_frames)} if codec == "mpeg4" else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p" if codec == "mpeg4" else "yuvj420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def packets_in(path: Path) -> list[tuple[int, int]]:
    """Return the first byte and the length of each packet in the file."""
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return [(content.index(packet), len(packet)) for packet in packets]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that FFmpeg opens from now on."""
    paths: list[str] = []
    genuine = av.open

    def noting(path: str, *args: object, **kwargs: object) -> object:
        paths.append(path)
        return genuine(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("worker.video.decoding.container.av.open", noting)
        yield paths


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_second_reading_gives_the_same_without_opening_the_clip(
    tmp_path: Path, opened: list[str], b_frames: int, threads: int
) -> None:
    path = tmp_path / "x.avi"
    write_clip(path, b_frames=b_frames)
    frames = decode_clip(path)
    reader = FrameReader(threads=threads)
    reader.read(path, [0], paired=True)
    opened.clear()
    for chosen in ([0], [39], [11], [12], [13], [14], [14, 12], [35, 1, 1], [3, 13, 26], list(range(40))):
        np.testing.assert_array_equal(reader.read(path, chosen, paired=True), frames[chosen])
    assert reader.read(path, [5], "grey", paired=True).shape == (1, 48, 64)
    assert opened == []
    with pytest.raises(DecodeFailed, match="frame 40: the clip has 40 frames"):
        reader.read(path, [1, 40], paired=True)


def test_a_forked_process_decodes_with_threads_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.avi"
    write_clip(path)
    reader = FrameReader(threads=2)
    for _ in range(2):  # the second has started the threads, which a copy of this process lacks
        reader.read(path, [1, 20, 35], paired=True)
    child = multiprocessing.get_context("fork").Process(
        target=reader.read, args=(path, [1, 20, 35]), kwargs={"paired": True}
    )
    child.start()
    child.join(240)
    alive = child.is_alive()
    child.kill()
    child.join()
    assert not alive
    assert child.exitcode == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_names_the_frame_although_others_were_left_out(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "x.avi"
    write_clip(path)
    packets = packets_in(path)
    damaged = bytearray(path.read_bytes())
    first, size = packets[30]
    damaged[first + 40 : first + size] = bytes(size - 40)
    path.write_bytes(damaged)
    with pytest.raises(DecodeFailed) as whole:
        decode_clip(path)
    assert whole.value.frame == 30
    reader = FrameReader(threads=threads)
    reader.read(path, [0], paired=True)
    for chosen in ([31], [2, 30], [1, 13, 35]):
        for _ in range(2):
            with pytest.raises(DecodeFailed, match=r"x\.avi: frame 30: ") as caught:
                reader.read(path, chosen, paired=True)
            assert caught.value.reason == whole.value.reason


def test_a_clip_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "x.avi"
    reader = FrameReader()
    for seed in range(3):
        write_clip(path, seed=seed)
        for _ in range(2):
            np.testing.assert_array_equal(reader.read(path, [20], paired=True), decode_clip(path)[[20]])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(DecodeFailed, match=r"x\.avi"):
        reader.read(path, [20], paired=True)
    path.unlink()
    with pytest.raises(DecodeFailed, match="No such file"):
        reader.read(path, [20], paired=True)


def test_no_more_clips_are_remembered_than_allowed(tmp_path: Path, opened: list[str]) -> None:
    paths = [tmp_path / f"{number}.avi" for number in range(3)]
    for number, path in enumerate(paths):
        write_clip(path, num_frames=3, seed=number)
    reader = FrameReader(max_clips=2)
    for number in (0, 1, 0, 2):  # 1 is the one that was not read for longest
        reader.read(paths[number], [1], paired=True)
    opened.clear()
    for number in (0, 2, 1):
        reader.read(paths[number], [1], paired=True)
    assert opened == [str(paths[1])]


def test_another_format_is_read_through_ffmpeg_each_time(tmp_path: Path, opened: list[str]) -> None:
    for path, codec in ((tmp_path / "x.avi", "mjpeg"), (tmp_path / "x.mp4", "mpeg4")):
        write_clip(path, num_frames=5, codec=codec)
        expected = decode_clip(path)[[3, 1]]
        opened.clear()
        reader = FrameReader()
        for _ in range(2):
            np.testing.assert_array_equal(reader.read(path, [3, 1], paired=True), expected)
        assert len(opened) == 2


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no genuine clips at {SHARED}")
@pytest.mark.parametrize("name", ["ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01", "YoYo/v_YoYo_g01_c02"])
def test_genuine_clips_are_remembered(opened: list[str], name: str) -> None:
    path = SHARED / f"{name}.avi"
    frames = decode_clip(path)
    assert probe_clip(path).paired
    reader = FrameReader()
    reader.read(path, [0], paired=True)
    opened.clear()
    for chosen in ([0, 7, 8, 9, 60, len(frames) - 1], [23], np.linspace(0, len(frames) - 1, 25).astype(int).tolist()):
        np.testing.assert_array_equal(reader.read(path, chosen, paired=True), frames[chosen])
    assert opened == []
