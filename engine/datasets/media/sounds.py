"""Sounds that rows point to: what their head says, and their samples as a model takes them.

WAV, FLAC, MP3, Ogg and what else libsndfile reads (package soundfile), or a container's first sound
track (`engine.datasets.media.sound_tracks`), in one channel, at the rate
that the settings name (package soxr); both come with the extra `sound`. They are imported when a
sound is opened, and nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.sound_tracks import about_track, blocks_of_track, is_container
from engine.installed import install_command, is_installed

if TYPE_CHECKING:
    import numpy

_BLOCK = 1 << 16  # frames
# What a row may bring into memory: at 16,000 samples a second 115 MB.
LONGEST_SECONDS = 30 * 60
# Heads of MP3 files may tell a few more frames than there are.
_MAY_LACK = 0.1
_PACKAGES = ("soundfile", "soxr")


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What a sound's head tells: how many frames, how many a second, of how many channels."""

    frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def samples(self, rate: int) -> int:
        """How many samples the sound has at `rate` a second; at least one."""
        return max(1, (self.frames * rate + self.rate // 2) // self.rate)


def missing_package() -> str:
    """Why no sound can be read here; empty where they can."""
    if all(is_installed(name) for name in _PACKAGES):
        return ""
    return f"sounds are read with soundfile and soxr: {install_command('sound')}"


def about_sound(path: Path) -> SoundFacts:
    """What the head of the sound at `path` says. Raises RowFault for what is no sound, or is longer
    than half an hour."""
    stamp = path.stat()
    return _facts_at(path, stamp.st_mtime_ns, stamp.st_size)


def read_sound(path: Path, rate: int) -> numpy.ndarray[Any, Any]:
    """The samples (float32, -1 to 1) of the sound at `path`, its channels' mean, `rate` a second.

    Raises RowFault for a sound that can't be decoded to its end.
    """
    import numpy
    import soxr

    facts = about_sound(path)
    wanted = facts.samples(rate)
    pieces: list[Any] = []
    stream = None
    if rate != facts.rate:
        stream = soxr.ResampleStream(facts.rate, rate, 1, dtype="float32")
    frames = 0
    for block in _blocks(path):
        frames += len(block)
        with numpy.errstate(over="ignore", invalid="ignore"):  # told below
            one = numpy.ascontiguousarray(block.mean(axis=1, dtype=numpy.float32))
        pieces.append(one if stream is None else stream.resample_chunk(one))
    if frames < (1 - _MAY_LACK) * facts.frames:
        raise RowFault(
            f"the sound {path.name} breaks off after {frames / facts.rate:,.1f} of "
            f"{facts.seconds:,.1f} seconds"
        )
    if stream is not None:
        pieces.append(stream.resample_chunk(numpy.zeros(0, dtype=numpy.float32), last=True))
    samples = numpy.concatenate(pieces)[:wanted]
    if not numpy.isfinite(samples).all():
        raise RowFault(f"the sound {path.name} holds samples that are no numbers")
    # So many as its head says: the tokens were counted by them.
    return numpy.pad(samples, (0, wanted - len(samples)))


def loudness(path: Path, parts: int) -> list[float]:
    """The loudest sample (0 to 1) of each of at most `parts` equal parts. Raises RowFault."""
    import numpy

    facts = about_sound(path)
    parts = min(parts, facts.frames)
    found = numpy.zeros(parts)
    at = 0
    for block in _blocks(path):
        peaks = numpy.nan_to_num(numpy.abs(block).max(axis=1))
        places = (numpy.arange(at, at + len(peaks)) * parts) // facts.frames
        at += len(peaks)
        numpy.maximum.at(found, numpy.minimum(places, parts - 1), peaks)
    return [min(1.0, float(peak)) for peak in found]


@lru_cache(maxsize=4096)
def _facts_at(path: Path, _changed: int, _size: int) -> SoundFacts:
    if is_container(path):
        facts = SoundFacts(*about_track(path))
    else:
        with _opened(path) as sound:
            facts = SoundFacts(int(sound.frames), int(sound.samplerate), int(sound.channels))
    if facts.frames <= 0 or facts.rate <= 0:
        raise RowFault(f"the sound {path.name} is empty")
    if facts.seconds > LONGEST_SECONDS:
        raise RowFault(
            f"the sound {path.name} is longer than {LONGEST_SECONDS // 60} minutes: cut it"
        )
    return facts


def _blocks(path: Path) -> Iterator[Any]:
    """The sound's frames, (frames, channels) at a time; no more than a sound may have."""
    most = about_sound(path).rate * (LONGEST_SECONDS + 60)
    for block in blocks_of_track(path) if is_container(path) else _blocks_of_file(path):
        yield block
        most -= len(block)
        if most < 0:
            return


def _blocks_of_file(path: Path) -> Iterator[Any]:
    import soundfile

    with _opened(path) as sound:
        while True:
            try:
                block = sound.read(_BLOCK, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError, ValueError) as error:
                raise _unreadable(path, error) from None
            if not len(block):
                return
            yield block


def _opened(path: Path) -> Any:
    missing = missing_package()
    if missing:
        raise RowFault(missing)
    import soundfile

    try:
        return soundfile.SoundFile(str(path))
    # A name that ends in .raw asks for what only its owner knows: a TypeError.
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> RowFault:
    # libsndfile's own words, without the path.
    told = str(getattr(error, "error_string", None) or error).strip().splitlines()
    why = (told or [type(error).__name__])[0][:80].rstrip(".")
    if why.startswith("File does not exist"):  # said of an MP3 without a whole frame
        why = "its content is of no known kind"
    return RowFault(f"{path.name} is no sound that can be read ({why})")
