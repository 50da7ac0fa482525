"""The media of a row, drawn for a pane: a look-up that needs PIL and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config import RunConfig
from engine.worker.questions import _rows_of

if TYPE_CHECKING:
    from engine.datasets.media.preview import Preview


@dataclass(frozen=True)
class RowPictures:
    """The media of one row, drawn for a pane, those of a kind in the order of their places."""

    dataset: str
    index: int
    previews: tuple[Preview, ...]


def row_pictures(
    name: str, index: int, config: RunConfig, columns: int, rows: int, shades: bool
) -> RowPictures:
    """The media of row `index`, each in at most `columns` by `rows` cells; `shades` where the
    terminal has too few colours. Raises BadInput where the set can't be read."""
    from engine.datasets import Example
    from engine.datasets.formats.fields import RowFault
    from engine.datasets.media import find_medium, media_root
    from engine.datasets.media.preview import Preview, preview

    example = _rows_of(name, config).example(index)
    previews = []
    for media in example.media if isinstance(example, Example) else ():
        try:
            path = find_medium(media_root(config), media)
        except RowFault as fault:
            previews.append(Preview(media.name, 0, 0, problem=str(fault), kind=media.kind))
            continue
        previews.append(preview(path, columns, rows, "shades" if shades else "full", media.kind))
    return RowPictures(name, index, tuple(previews))
