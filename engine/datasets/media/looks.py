"""A look at a medium's file that costs little: whether it is what the row says it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.datasets.media.paths import find_medium, picture_size
from engine.datasets.media.sounds import about_sound
from engine.datasets.media.videos import about_video
from engine.datasets.medium import Kind, Medium

# Each raises RowFault for a file that can't be read as its kind.
LOOKS: dict[Kind, Callable[[Path], object]] = {
    "image": picture_size,
    "video": about_video,
    "audio": about_sound,
}


def look_at(root: Path, medium: Medium) -> None:
    """Raise RowFault where the file of `medium` isn't there, or is none of its kind."""
    LOOKS[medium.kind](find_medium(root, medium))
