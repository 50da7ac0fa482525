"""A medium in a terminal's cells: two pixels a cell, the upper as `▀` in one colour on another.

Plain data: lines of cells for the screen to draw, no escape sequences. Where there are few colours
the cells are shades, and where there are none a line says what the picture is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.paths import open_picture, picture_size
from engine.datasets.media.sounds import about_sound, loudness
from engine.datasets.media.videos import about_video, first_frame
from engine.datasets.medium import Kind, word

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Depth = Literal["full", "shades"]
_HALF = "▀"
_SHADES = " ░▒▓█"
# A cell is about twice as tall as it is wide, so half of one is a square.
_BARS = " ▁▂▃▄▅▆▇█"
_LONGEST = 1 << 24  # frames of a sound; longer ones are named, not drawn
_LARGEST = 1 << 26  # pixels; larger pictures are named, not drawn


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: `text` in `upper` on `lower`, both None where it has no colours of its own."""

    text: str
    upper: Colour | None = None
    lower: Colour | None = None


@dataclass(frozen=True)
class Preview:
    """A medium drawn: `name`, its size in pixels, and lines of cells; no lines where it can't be
    shown, and `problem` then says why. `told` is what its head tells, in words, where that is not
    the size of a picture."""

    name: str
    width: int
    height: int
    lines: tuple[tuple[Cell, ...], ...] = ()
    problem: str = ""
    kind: Kind = "image"
    told: str = ""

    @property
    def title(self) -> str:
        """What the picture is, in a few words; also what stands where it can't be drawn."""
        if self.problem:
            return f"[{self.problem}]"
        if self.told:
            return f"[{self.told}]"
        return f"[picture {self.width}×{self.height}]"


def preview(
    path: Path, columns: int, rows: int, depth: Depth = "full", kind: Kind = "image"
) -> Preview:
    """The medium in at most `columns` by `rows` cells, its shape kept. Never raises for a file
    that is none of its kind: it says so."""
    try:
        if kind not in PREVIEWS:
            return Preview(path.name, 0, 0, kind=kind, told=word(kind))
        return PREVIEWS[kind](path, columns, rows, depth)
    except (RowFault, OSError) as fault:
        return Preview(path.name, 0, 0, problem=str(fault), kind=kind)


def _picture(path: Path, columns: int, rows: int, depth: Depth) -> Preview:
    width, height = picture_size(path)
    if width * height > _LARGEST:
        return Preview(path.name, width, height)
    across, down = fitted(width, height, columns, rows)
    return Preview(path.name, width, height, drawn(open_picture(path), across, down, depth))


def _video(path: Path, columns: int, rows: int, depth: Depth) -> Preview:
    """The first frame; the title tells how long the video is."""
    facts = about_video(path)
    told = f"video {facts.width}×{facts.height}, {facts.seconds:.1f} s, {facts.frames:,} frames"
    across, down = fitted(facts.width, facts.height, columns, rows)
    lines = drawn(first_frame(path), across, down, depth)
    return Preview(path.name, facts.width, facts.height, lines, kind="video", told=told)


def fitted(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Cells across and down for the largest picture of this shape that fits; at least one each."""
    columns, rows = max(1, columns), max(1, rows)
    scale = min(columns / width, 2 * rows / height, 1.0 if width <= columns else columns)
    across = max(1, min(columns, round(width * scale)))
    down = max(1, min(rows, round(height * scale / 2)))
    return across, down


def drawn(picture: Image, across: int, down: int, depth: Depth) -> tuple[tuple[Cell, ...], ...]:
    """A picture as `down` lines of `across` cells."""
    from PIL.Image import Resampling

    small = picture.resize((across, down * 2), Resampling.BOX)
    if depth == "shades":
        grey = small.convert("L").resize((across, down), Resampling.BOX)
        last = len(_SHADES) - 1
        return tuple(
            tuple(Cell(_SHADES[_level(grey, x, y) * last // 255]) for x in range(across))
            for y in range(down)
        )
    return tuple(
        tuple(
            Cell(_HALF, _colour(small, x, 2 * y), _colour(small, x, 2 * y + 1))
            for x in range(across)
        )
        for y in range(down)
    )


def _sound(path: Path, columns: int, rows: int, depth: Depth) -> Preview:
    """A sound's loudness over its time, in one line, and what its head says."""
    facts = about_sound(path)
    channels = {1: "mono", 2: "stereo"}.get(facts.channels, f"{facts.channels} channels")
    told = f"sound {facts.seconds:,.1f} s, {facts.rate:,} Hz, {channels}"
    if facts.frames > _LONGEST:
        return Preview(path.name, 0, 0, kind="audio", told=told)
    peaks = loudness(path, max(1, columns))
    last = len(_BARS) - 1
    line = tuple(Cell(_BARS[min(last, round(peak * last))]) for peak in peaks)
    return Preview(path.name, 0, 0, (line,), kind="audio", told=told)


def _level(picture: object, x: int, y: int) -> int:
    return int(picture.getpixel((x, y)))  # type: ignore[attr-defined]


def _colour(picture: object, x: int, y: int) -> Colour:
    red, green, blue = picture.getpixel((x, y))  # type: ignore[attr-defined]
    return int(red), int(green), int(blue)


# Each kind's drawing; raises RowFault for a file that is none of it.
PREVIEWS: dict[Kind, Callable[[Path, int, int, Depth], Preview]] = {
    "image": _picture,
    "video": _video,
    "audio": _sound,
}
