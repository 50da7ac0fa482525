"""Sounds in containers that libsndfile does not read (M4A, MP4, WebM, Matroska, WMA), by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.decoding import errors, opened
from engine.installed import install_command, is_installed

_MOST_CHANNELS = 8
SUFFIXES = frozenset({".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma"})


def is_container(path: Path) -> bool:
    """Whether a sound of this name is read here."""
    return path.suffix.lower() in SUFFIXES


def about_track(path: Path) -> tuple[int, int, int]:
    """Frames, frames a second and channels of the first sound track. Raises RowFault."""
    _check_installed(path)
    try:
        with opened(path) as container:
            stream = _track(path, container)
            rate = int(stream.codec_context.sample_rate)
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            else:
                seconds = float(container.duration or 0) / 1_000_000
            channels = int(stream.codec_context.channels)
            _check_channels(path, channels)
            return round(seconds * rate), rate, channels
    except errors() as error:
        raise _unreadable(path, error) from None


def blocks_of_track(path: Path) -> Iterator[Any]:
    """The first sound track's frames, (frames, channels) float32 at a time. Raises RowFault."""
    _check_installed(path)
    import av

    try:
        with opened(path) as container:
            stream = _track(path, container)
            # Packed: of planes a damaged frame may claim more than it has memory for.
            packed = av.AudioResampler(format="flt")
            for frame in container.decode(stream):
                _check_channels(path, frame.layout.nb_channels)
                for part in packed.resample(frame):
                    channels = part.layout.nb_channels
                    _check_channels(path, channels)
                    samples = part.to_ndarray().reshape(-1)
                    yield samples[: len(samples) // channels * channels].reshape(-1, channels)
    except errors() as error:
        raise _unreadable(path, error) from None


def _track(path: Path, container: Any) -> Any:
    if not container.streams.audio:
        raise RowFault(f"{path.name} is no sound that can be read (it has no sound track)")
    track = container.streams.audio[0]
    if track.codec_context is None:
        raise RowFault(f"{path.name} is no sound that can be read (its codec is not known)")
    return track


def _check_channels(path: Path, channels: int) -> None:
    if not 1 <= channels <= _MOST_CHANNELS:
        raise RowFault(f"{path.name} is no sound that can be read (it has {channels:,} channels)")


def _check_installed(path: Path) -> None:
    if not is_installed("av"):
        raise RowFault(f"sounds such as {path.name} are read with PyAV: {install_command('video')}")


def _unreadable(path: Path, error: BaseException) -> RowFault:
    told = str(getattr(error, "strerror", None) or error).strip().splitlines()
    why = (told or [type(error).__name__])[0][:80]
    return RowFault(f"{path.name} is no sound that can be read ({why})")
