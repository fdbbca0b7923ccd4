import ctypes
import gc
import os
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.video.made_clips import decode_frames, encode, pictures, plain
from worker.video.decoding.decode import DecodeFailed, FrameReader, decode_clip, iterate_frames
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.inspection import probe_clip

SHARED = Path(__file__).parents[5] / "shared/data/clips"
needs_clips = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no genuine clips at {SHARED}")


def write_mpeg4(path: Path, images: np.ndarray, options: dict[str, str] | None = None) -> None:
    """Write an AVI whose frames depend on one another, as UCF101's do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options=options or {"g": "12"})
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A clip of 30 grey frames, of brightness 8 times their number."""
    images = np.repeat(np.arange(30, dtype=np.uint8) * 8, 48 * 64 * 3).reshape(30, 48, 64, 3)
    write_mpeg4(tmp_path / "numbered.avi", images)
    return tmp_path / "numbered.avi"


def test_every_frame_comes_once_and_in_order(numbered: Path) -> None:
    info = probe_clip(numbered)
    assert (info.frames, info.fps, info.width, info.height) == (30, 25.0, 64, 48)
    frames = decode_clip(numbered)
    assert frames.shape == (30, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert np.abs(frames.mean(axis=(1, 2, 3)) - np.arange(30) * 8).max() < 6


def test_grey_has_full_range_and_one_channel(numbered: Path) -> None:
    frames = list(iterate_frames(numbered, "grey"))
    assert [frame.shape for frame in frames] == [(48, 64)] * 30
    assert np.abs(np.stack(frames).mean(axis=(1, 2)) - np.arange(30) * 8).max() < 6


def test_chosen_frames_are_those_of_the_whole_clip(numbered: Path) -> None:
    frames = decode_clip(numbered)
    chosen = [29, 0, 7, 7, 3]
    np.testing.assert_array_equal(decode_frames(numbered, chosen), frames[chosen])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_leaving_out_what_nobody_wants_changes_no_pixel(tmp_path: Path, threads: int, b_frames: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    write_mpeg4(tmp_path / "x.avi", images, {"g": "12", "bf": str(b_frames)})
    info = probe_clip(tmp_path / "x.avi")
    assert info.paired
    frames = decode_clip(tmp_path / "x.avi")
    for chosen in ([0], [39], [11], [12], [13], [35, 1], list(range(0, 40, 7)), list(range(40))):
        found = decode_frames(tmp_path / "x.avi", chosen, paired=True, threads=threads)
        np.testing.assert_array_equal(found, frames[chosen])
    with pytest.raises(DecodeFailed, match="frame 40: the clip has 40 frames"):
        decode_frames(tmp_path / "x.avi", [1, 40], paired=True)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_interlaced_b_pictures_are_not_left_out_since_others_lean_on_the_first(tmp_path: Path, b_frames: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 6, 8, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    images[:, 1::2] = images[:, 1::2, ::-1]  # the second field is another picture
    write_mpeg4(tmp_path / "x.avi", images, {"g": "12", "bf": str(b_frames), "flags": "+ildct+ilme"})
    info = probe_clip(tmp_path / "x.avi")
    assert (info.interlaced, info.paired) == (True, b_frames == 0)
    frames = decode_clip(tmp_path / "x.avi")
    for chosen in ([2], [17, 5], list(range(2, 24, 3))):
        np.testing.assert_array_equal(decode_frames(tmp_path / "x.avi", chosen, paired=info.paired), frames[chosen])


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4", "ts"])
def test_threads_decode_interlaced_b_pictures_as_one_thread_does(tmp_path: Path, suffix: str) -> None:
    path, options = tmp_path / f"x.{suffix}", {"flags": "+ilme+ildct", "bf": "1", "g": "5", "b_strategy": "0"}
    encode(path, "mpeg4", options, "yuv420p", pictures(20, "noise", (34, 46)), range(21))
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(decode_clip(path, threads=threads), plain(path))


def test_a_pairing_that_no_longer_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert not probe_clip(path).paired
    with pytest.raises(DecodeFailed, match="no longer pair off"):
        decode_frames(path, [1], paired=True)


def test_what_lies_behind_the_last_chosen_frame_is_not_decoded(numbered: Path) -> None:
    content = numbered.read_bytes()
    cut = numbered.with_name("cut.avi")
    cut.write_bytes(content[: len(content) * 3 // 4])
    np.testing.assert_array_equal(decode_frames(cut, [2]), decode_frames(numbered, [2]))


def test_a_frame_that_is_not_there_is_refused(numbered: Path) -> None:
    with pytest.raises(DecodeFailed, match=r"numbered\.avi: frame 30: the clip has 30 frames"):
        decode_frames(numbered, [0, 30])
    for frames in ([], [-1]):
        with pytest.raises(ValueError, match="frames: got"):
            decode_frames(numbered, frames)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.9])
def test_a_clip_that_is_cut_short_is_refused(numbered: Path, share: float) -> None:
    content = numbered.read_bytes()
    cut = numbered.with_name("cut.avi")
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DecodeFailed) as caught:
        probe_clip(cut)
    assert caught.value.clip == cut
    assert 0 <= caught.value.frame < 30


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.avi").write_bytes(content)
    with pytest.raises(DecodeFailed, match=r"x\.avi: frame 0: "):
        decode_clip(tmp_path / "x.avi")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.avi").mkdir()
    os.mkfifo(tmp_path / "pipe.avi")
    for name in ("folder", "pipe"):
        with pytest.raises(DecodeFailed, match=rf"{name}\.avi: frame 0: not a file"):
            decode_clip(tmp_path / f"{name}.avi")


def test_a_missing_clip_and_a_clip_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeFailed, match="No such file"):
        probe_clip(tmp_path / "absent.avi")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(DecodeFailed, match="no video stream"):
        probe_clip(tmp_path / "sound.wav")


def test_motion_jpeg_frames_are_close_to_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = np.kron(rng.integers(40, 216, (5, 4, 4, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    write_avi(tmp_path / "x.avi", images)
    assert np.abs(decode_clip(tmp_path / "x.avi").astype(int) - images).max() <= 6


def test_files_are_closed(numbered: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(20):
        decode_frames(numbered, [1])
        next(iterate_frames(numbered))
        with pytest.raises(DecodeFailed):
            decode_frames(numbered, [99])
    assert open_files() <= before + 1


def growth(clip: Path, opens: int) -> int:
    """Open a clip many times, in every way; return by how many bytes the memory in use has grown."""
    gc.disable()  # memory must not wait for it
    try:
        before = memory_in_use()
        for number in range(opens):
            decode_frames(clip, [0, 3], paired=bool(number % 2))
            next(iterate_frames(clip))
            with pytest.raises(DecodeFailed):
                decode_frames(clip, [99])
        return memory_in_use() - before
    finally:
        gc.enable()


def memory_in_use() -> int:
    """Return bytes that are allocated from the C library and not freed."""
    fields = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]

    class Mallinfo(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in fields]

    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library does not say what it holds")
def test_memory_is_flat_over_many_opens(numbered: Path) -> None:
    growth(numbered, 50)
    assert growth(numbered, 300) < 1_000_000
    reader = FrameReader()
    reader.read(numbered, [0], paired=True)
    before = memory_in_use()
    for number in range(300):
        reader.read(numbered, [number % 30], paired=True)
    assert memory_in_use() - before < 1_000_000


@pytest.mark.data
@needs_clips
def test_a_placeholder_of_a_genuine_clip_is_counted_by_the_header_and_is_no_frame() -> None:
    path = SHARED / "UCF-101/YoYo/v_YoYo_g11_c04.avi"
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 195
    info = probe_clip(path)
    assert (info.frames, info.declared, info.fps, info.width, info.height) == (194, 195, 25.0, 320, 240)
    assert info.paired
    frames, chosen = plain(path), [0, 112, 113, 114, 115, 193]  # packet 114 holds no picture
    np.testing.assert_array_equal(decode_clip(path), frames)
    np.testing.assert_array_equal(decode_frames(path, chosen, paired=True), frames[chosen])


@pytest.mark.data
@needs_clips
@pytest.mark.parametrize("name", ["ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01", "YoYo/v_YoYo_g01_c02"])
def test_genuine_clips_pair_off_packed_or_not(name: str) -> None:
    path = SHARED / f"UCF-101/{name}.avi"
    info = probe_clip(path)
    assert info.paired
    assert (info.timing, info.codec) == ("constant", "mpeg4")
    with av.open(str(path)) as container:  # as FFmpeg does it, with nothing of ours between
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(decode_clip(path), frames)
    chosen = np.linspace(0, info.frames - 1, 25).astype(int).tolist()
    np.testing.assert_array_equal(decode_frames(path, chosen, paired=True), frames[chosen])
