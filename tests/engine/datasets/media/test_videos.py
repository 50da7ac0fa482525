"""Which frames are taken of a video, how large, and what is said of files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.limits import Limits
from engine.datasets.media.videos import (
    FrameChoice,
    VideoFacts,
    about_video,
    first_frame,
    read_video,
)

pytest.importorskip("av")
RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)
LOOSE = FrameChoice(2.0, 128, Limits(768 * 768, 1))


@pytest.fixture
def write_video(tiny_video: Any) -> Callable[..., Path]:
    """`write_video(path, colours, fps, size, codec)`: one frame for each colour."""
    writes: Callable[..., Path] = tiny_video.write_video
    return writes


def near(pixel: tuple[int, int, int], colour: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 25 for one, other in zip(pixel, colour, strict=True))


def middle(picture: object) -> tuple[int, int, int]:
    width, height = picture.size  # type: ignore[attr-defined]
    return picture.getpixel((width // 2, height // 2))  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("frames", [1, 2, 7, 30, 299, 1000])
@pytest.mark.parametrize("fps", [0.5, 2.0, 29.97])
@pytest.mark.parametrize("most", [1, 3, 128])
def test_frames_are_chosen_evenly_as_users_of_these_settings_know_it(
    frames: int, fps: float, most: int
) -> None:
    import numpy as np

    facts = VideoFacts(10, 10, frames, 25.0)
    count = min(frames, most, max(1, int(frames / 25.0 * fps + 1e-6)))
    expected = np.linspace(0, frames - 1, count).astype(np.int32).tolist()
    assert FrameChoice(fps, most, Limits(1, 1)).places(facts) == expected


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_the_frames_of_a_file_are_those_at_their_places(
    name: str, codec: str, tmp_path: Path, write_video: Any
) -> None:
    colours = [RED] * 8 + [GREEN] * 8 + [BLUE] * 8
    path = write_video(tmp_path / name, colours, fps=8, codec=codec)
    facts = about_video(path)
    assert (facts.width, facts.height, facts.frames) == (64, 48, 24)
    assert facts.seconds == pytest.approx(3.0, abs=0.2)
    read = read_video(path, FrameChoice(1.0, 128, Limits(10**6, 1)))
    assert read.places == (0, 11, 23)
    assert [near(middle(picture), colour) for picture, colour in
            zip(read.pictures, (RED, GREEN, BLUE), strict=True)] == [True] * 3  # fmt: skip
    assert near(middle(first_frame(path)), RED)


def test_frames_are_shrunk_and_grown_within_their_pixels(tmp_path: Path, write_video: Any) -> None:
    path = write_video(tmp_path / "a.mp4", [RED] * 16)
    small = read_video(path, FrameChoice(2.0, 128, Limits(32 * 24, 1))).pictures
    assert {picture.size for picture in small} == {(32, 24)}
    large = read_video(path, FrameChoice(2.0, 128, Limits(10**6, 128 * 96))).pictures
    assert {picture.size for picture in large} == {(128, 96)}
    assert len(large) == 4
    assert len(read_video(path, FrameChoice(2.0, 3, Limits(10**6, 1))).pictures) == 3


def test_an_animated_picture_is_a_video(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000)
    read = read_video(path, FrameChoice(1.0, 128, Limits(10**6, 1)))
    assert read.facts.seconds == pytest.approx(3.0)
    assert [near(middle(picture), colour) for picture, colour in
            zip(read.pictures, (RED, GREEN, BLUE), strict=True)] == [True] * 3  # fmt: skip


def test_a_folder_of_frames_is_a_video_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    from PIL import Image

    for place, colour in ((9, RED), (10, GREEN), (100, BLUE)):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"frame{place}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    read = read_video(tmp_path, LOOSE)
    assert [near(middle(picture), colour) for picture, colour in
            zip(read.pictures, (RED, GREEN, BLUE), strict=True)] == [True] * 3  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(RowFault, match="empty holds no frames"):
        read_video(tmp_path / "empty", LOOSE)


def test_what_is_no_video_says_so_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"this is text" * 50)
    with pytest.raises(RowFault, match=r"a\.mp4 is no video that can be read \(Invalid data"):
        read_video(tmp_path / "a.mp4", LOOSE)
    (tmp_path / "b.mp4").write_bytes(b"")
    with pytest.raises(RowFault, match=r"b\.mp4 is no video"):
        about_video(tmp_path / "b.mp4")
    (tmp_path / "c.gif").write_bytes(b"GIF89a")
    with pytest.raises(RowFault, match=r"c\.gif is no"):
        about_video(tmp_path / "c.gif")


def test_a_file_with_sound_alone_holds_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0" * 1600)
    with pytest.raises(RowFault, match=r"a\.wav"):
        about_video(tmp_path / "a.wav")


def test_a_video_that_breaks_off_is_told_by_its_frame(tmp_path: Path, write_video: Any) -> None:
    path = write_video(tmp_path / "a.avi", [RED, GREEN, BLUE] * 20, size=(320, 240))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RowFault, match=r"a\.avi breaks off after frame \d+ of 60"):
        read_video(path, LOOSE)


def test_a_playlist_opens_no_other_file(tmp_path: Path, write_video: Any) -> None:
    write_video(tmp_path / "a.ts", [RED] * 8, codec="mpeg2video")
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\na.ts\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile a.ts\n")
    for name in ("list.mp4", "list.ffconcat"):
        with pytest.raises(RowFault, match="is no video that can be read"):
            about_video(tmp_path / name)


def test_a_huge_video_is_refused_unread(tmp_path: Path, write_video: Any) -> None:
    from engine.datasets.media import videos

    path = write_video(tmp_path / "a.mp4", [RED] * 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "_MOST_FRAMES", 7)
        videos._facts_at.cache_clear()
        with pytest.raises(RowFault, match="larger than is safe to open"):
            read_video(path, LOOSE)
    videos._facts_at.cache_clear()


def test_without_pyav_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_video: Any
) -> None:
    from engine.datasets.media import decoding

    path = write_video(tmp_path / "a.mp4", [RED] * 8)
    monkeypatch.setattr(decoding, "is_installed", lambda _: False)
    with pytest.raises(RowFault, match=r"pip install 'finetui\[video\]'"):
        read_video(path, LOOSE)


@pytest.mark.parametrize(
    ("name", "codec", "apart"),
    [("a.mp4", "libx264", 12), ("a.mkv", "libx264", 12), ("a.webm", "libvpx-vp9", 12),
     ("a.mp4", "mpeg4", 12), ("a.mp4", "libx264", 250)],
)  # fmt: skip
def test_frames_far_apart_are_found_from_key_frames(
    name: str, codec: str, apart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av
    import numpy as np

    from engine.datasets.media import decoding

    noise = np.random.default_rng(0)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = apart
        for _ in range(200):
            pixels = noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    places = [0, 30, 31, 77, 120, 199]
    expected = list(decoding._in_order(tmp_path / name, places, 200))
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_in_order", None)
        found = list(decoding.decoded(tmp_path / name, places, 200))
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
    assert len({one.tobytes() for one in found}) == len(places)


def test_frames_without_times_are_decoded_in_order(write_video: Any, tmp_path: Path) -> None:
    from engine.datasets.media import decoding

    path = write_video(tmp_path / "a.h264", [RED] * 50 + [BLUE] * 50, codec="libx264")
    assert about_video(path).frames == 100
    with pytest.raises(decoding._Irregular):
        list(decoding._sought(path, [0, 99], 100))
    first, last = decoding.decoded(path, [0, 99], 100)
    assert near(middle(first), RED) and near(middle(last), BLUE)


def test_a_video_of_an_unknown_codec_is_told(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    named = b"V_MPEG4/ISO/ASP"
    assert whole.count(named) == 1
    path.write_bytes(whole.replace(named, b"V_NONE4/ISO/ASP"))
    with pytest.raises(RowFault, match=r"a\.mkv is no video that can be read \(its codec is not"):
        about_video(path)
