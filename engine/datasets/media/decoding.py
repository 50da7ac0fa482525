"""Frames out of video files by PyAV: in order, or from key frame to key frame."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.installed import install_command, is_installed

if TYPE_CHECKING:
    from PIL.Image import Image

# A playlist would read other files than the row's, so FFmpeg may open these kinds only.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,gif,mpegvideo,m4v,h264,hevc,"
    "ivf,yuv4mpegpipe,obu,av1,nut,mxf,rm,swf,dv"
)
# Frames that a container counts and the decoder keeps to itself at the end: B-frames, hidden ones.
_MAY_LACK = 0.1
# Where frames stand further apart than this, those between are not decoded if they needn't be.
_SPARSE = 8


class _Irregular(ValueError):
    """A file whose frames can't be found by their times."""


def missing_pyav() -> str:
    """Why no video file can be read here; empty where they can."""
    return "" if is_installed("av") else f"videos are read with PyAV: {install_command('video')}"


def opened(path: Path) -> Any:
    """The file as a PyAV container. Raises RowFault without PyAV, `errors()` for what is none."""
    if missing := missing_pyav():
        raise RowFault(missing)
    import av

    return av.open(
        str(path.absolute()),
        options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS},
        metadata_errors="replace",
    )


def decoded(path: Path, places: Sequence[int], frames: int) -> Iterator[Image]:
    """The frames at `places` (ascending, from 0) of a video that has `frames`. Raises RowFault
    where the file breaks off before."""
    taken = 0
    if frames > _SPARSE * len(places):
        try:
            for picture in _sought(path, places, frames):
                taken += 1
                yield picture
            return
        except errors():
            pass  # decoded from the beginning, it may be well, or tells where it breaks off
    yield from _in_order(path, places[taken:], frames)


def _sought(path: Path, places: Sequence[int], frames: int) -> Iterator[Image]:
    """The frames, each decoded from the key frame before it. Raises _Irregular where the file's
    packets don't tell which frame is shown when."""
    times, keys = _times(path)
    if len(times) != frames or not keys or keys[0] > times[0]:
        raise _Irregular
    with opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        coming: Iterator[Any] = iter(())
        reached = None
        for place in places:
            wanted = times[place]
            key = keys[bisect.bisect_right(keys, wanted) - 1]
            if reached is None or key > reached:
                container.seek(key, stream=stream)
                coming = container.decode(stream)
            for frame in coming:
                reached = frame.pts
                if reached is None or reached >= wanted:
                    break
            if reached != wanted:
                raise _Irregular
            yield _upright(frame)


def _times(path: Path) -> tuple[list[int], list[int]]:
    """When each frame is shown, in order, and those of the key frames, in the stream's units."""
    times, keys = [], []
    with opened(path) as container:
        for packet in container.demux(container.streams.video[0]):
            if not packet.size:
                continue
            if packet.pts is None:
                raise _Irregular
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    times.sort()
    if any(one == other for one, other in itertools.pairwise(times)):
        raise _Irregular
    return times, sorted(keys)


def _in_order(path: Path, places: Sequence[int], frames: int) -> Iterator[Image]:
    """The frames, all before them decoded. Raises RowFault where the file breaks off before."""
    wanted = list(places)
    seen = 0
    last: Any = None
    reason: BaseException | None = None
    try:
        with opened(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                last = frame
                while wanted and wanted[0] == seen:
                    wanted.pop(0)
                    yield _upright(frame)
                seen += 1
                if not wanted:
                    return
    except errors() as error:
        reason = error
    if seen < (1 - _MAY_LACK) * (frames - 1) or last is None:
        why = f" ({_why(reason)})" if reason else ""
        raise RowFault(f"the video {path.name} breaks off after frame {seen:,} of {frames:,}{why}")
    for _ in wanted:
        yield _upright(last)


def _upright(frame: Any) -> Image:
    picture: Image = frame.to_image()
    turn = int(frame.rotation) % 360
    return picture.rotate(turn, expand=True) if turn else picture


def errors() -> tuple[type[BaseException], ...]:
    """What PyAV raises for a file that it can't read."""
    try:
        import av
    except ImportError:
        return (OSError, ValueError)
    return (av.FFmpegError, OSError, ValueError, EOFError, IndexError)


def unreadable(path: Path, error: BaseException) -> RowFault:
    """What is said of a file that is no video."""
    return RowFault(f"{path.name} is no video that can be read ({_why(error)})")


def _why(error: BaseException) -> str:
    """FFmpeg's own words, without its number and the path."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:80]
