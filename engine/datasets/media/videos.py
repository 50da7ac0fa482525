"""Videos that rows point to: what their head says, which frames are taken, and those frames.

A video is a file that PyAV reads (extra `video`), an animated picture (GIF, WebP, PNG), or a folder
of frames. Frames are chosen as people's settings have it (`video_fps`, `video_maxlen`): so many a
second, evenly from the first to the last, and at most so many. What is known of a video without
decoding it (`about_video`) is enough to count its tokens. PyAV and PIL are imported when a video is
opened, and nothing here needs torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.decoding import decoded, errors, opened, unreadable
from engine.datasets.media.limits import Limits
from engine.datasets.media.paths import open_picture, picture_size

if TYPE_CHECKING:
    from PIL.Image import Image

_ANIMATED = frozenset({".gif", ".webp", ".png", ".apng"})
_STILL = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_MOST_FRAMES = 2_000_000  # 18 hours at 30 a second
_MOST_PIXELS = 1 << 26  # of one frame: 8192 by 8192


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video's head tells: pixels of a frame, how many frames, and how many a second."""

    width: int
    height: int
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a video are taken, and how large each may be.

    `fps` frames a second, at most `most` of them, each within `limits`.
    """

    fps: float
    most: int
    limits: Limits

    @classmethod
    def of(cls, config: Any) -> FrameChoice:
        """That of video_fps, video_maxlen, video_max_pixels and video_min_pixels."""
        limits = Limits(config.video_max_pixels, config.video_min_pixels)
        return cls(config.video_fps, config.video_maxlen, limits)

    def places(self, facts: VideoFacts) -> list[int]:
        """The frames that are taken, counted from 0: evenly from the first to the last."""
        # As LLaMA-Factory has it: np.linspace(0, frames - 1, count).astype(int).
        wanted = max(1, math.floor(facts.seconds * self.fps + 1e-6))
        count = min(facts.frames, self.most, wanted)
        if count == 1:
            return [0]
        step = (facts.frames - 1) / (count - 1)
        return [*(int(place * step) for place in range(count - 1)), facts.frames - 1]


@dataclass(frozen=True)
class Frames:
    """The frames taken of a video: upright pictures of one size, and where each stood in it."""

    pictures: tuple[Image, ...]
    places: tuple[int, ...]
    facts: VideoFacts


def about_video(path: Path, fps: float = 2.0) -> VideoFacts:
    """What the head of the video at `path` says. Raises RowFault for what is no video.

    The frames of a folder have no times: they count as taken at `fps`.
    """
    if path.is_dir():
        found = _frames_in(path)
        return VideoFacts(*picture_size(found[0]), len(found), fps)
    stamp = path.stat()
    return _facts_at(path, stamp.st_mtime_ns, stamp.st_size)


def read_video(path: Path, choice: FrameChoice) -> Frames:
    """The frames that `choice` takes of the video at `path`. Raises RowFault for a video that
    can't be decoded up to the last of them."""
    facts = about_video(path, choice.fps)
    places = choice.places(facts)
    size = choice.limits.size(facts.width, facts.height)
    if path.is_dir():
        files = _frames_in(path)
        taken: Iterator[Image] = (open_picture(files[place]) for place in places)
    elif _animated(path):
        taken = _of_animation(path, places)
    else:
        taken = decoded(path, places, facts.frames)
    # Each is shrunk as it comes: a long video's frames would not fit side by side.
    pictures = tuple(_sized(picture, size) for picture in taken)
    return Frames(pictures, tuple(places), facts)


def first_frame(path: Path) -> Image:
    """The first frame, for a preview. Raises RowFault."""
    if path.is_dir():
        return open_picture(_frames_in(path)[0])
    if _animated(path):
        return next(_of_animation(path, [0]))
    return next(decoded(path, [0], 1))


def _sized(picture: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return picture if picture.size == size else picture.resize(size, Resampling.BICUBIC)


def _frames_in(folder: Path) -> list[Path]:
    """The pictures in a folder of frames, `frame9` before `frame10`. Raises RowFault for none."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in _STILL]
    if not found:
        raise RowFault(f"the folder {folder.name} holds no frames (PNG, JPEG or WebP pictures)")

    def order(path: Path) -> list[tuple[int, str]]:
        parts = re.findall(r"\d+|\D+", path.name)
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return sorted(found, key=order)


@lru_cache(maxsize=1024)
def _facts_at(path: Path, _changed: int, _size: int) -> VideoFacts:
    facts = _animation_facts(path) if _animated(path) else _file_facts(path)
    if facts.width * facts.height > _MOST_PIXELS or facts.frames > _MOST_FRAMES:
        raise RowFault(
            f"the video {path.name} is larger than is safe to open ({facts.frames:,} frames of "
            f"{facts.width:,} by {facts.height:,} pixels)"
        )
    return facts


def _animated(path: Path) -> bool:
    return path.suffix.lower() in _ANIMATED


def _animation_facts(path: Path) -> VideoFacts:
    from PIL import Image

    width, height = picture_size(path)  # refuses what is no picture
    try:
        with Image.open(path) as opened:
            count = getattr(opened, "n_frames", 1)
            if count > _MOST_FRAMES:
                return VideoFacts(width, height, count, 10.0)
            last = 0.0
            for place in range(count):
                opened.seek(place)
                # Viewers show a frame without a time for a tenth of a second.
                last += float(opened.info.get("duration") or 100.0)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise unreadable(path, error) from None
    return VideoFacts(width, height, count, 1000.0 * count / last)


def _of_animation(path: Path, places: Sequence[int]) -> Iterator[Image]:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            for place in places:
                opened.seek(place)
                frame = opened.convert("RGBA")
                yield Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert(
                    "RGB"
                )
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise unreadable(path, error) from None


def _file_facts(path: Path) -> VideoFacts:
    import contextlib

    with contextlib.ExitStack() as closing:
        try:
            container = closing.enter_context(opened(path))
            if not container.streams.video:
                raise RowFault(f"{path.name} holds no video, only sound or text")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RowFault(f"{path.name} is no video that can be read (its codec is not known)")
            if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
                return VideoFacts(stream.codec_context.width, stream.codec_context.height, 1, 1.0)
            first = next(iter(container.decode(stream)), None)
            if first is None:
                raise RowFault(f"{path.name} is no video that can be read (it has no frames)")
            turned = int(first.rotation) % 180 != 0
            width, height = first.width, first.height
            count, seconds = int(stream.frames), _seconds(container, stream)
            rate = float(stream.average_rate or 0)
        except errors() as error:
            raise unreadable(path, error) from None
    if not count:
        count, told = _counted(path)
        seconds = seconds or told
    if seconds <= 0:
        seconds = count / (rate or 24.0)
    size = (height, width) if turned else (width, height)
    return VideoFacts(*size, count, count / seconds)


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def _counted(path: Path) -> tuple[int, float]:
    """Frames and seconds of a container that tells neither (Matroska, WebM): its packets."""
    count, last = 0, 0.0
    try:
        with opened(path) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                count += 1
                if packet.pts is not None and packet.time_base:
                    until = packet.pts + (packet.duration or 0)
                    last = max(last, float(until * packet.time_base))
                if count > _MOST_FRAMES:
                    break
    except errors() as error:
        raise unreadable(path, error) from None
    return max(1, count), last
