"""The pictures of the row in view: asked for once a row and size, drawn when they come."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from engine.problem import FinetuiError

if TYPE_CHECKING:
    from engine.datasets.media.preview import Preview
    from engine.worker.questions import RowView
    from engine.worker.row_pictures import RowPictures
    from tui.studio import Studio

# A larger picture tells no more at a glance, and takes a slow line longer.
MOST_COLUMNS, MOST_ROWS = 64, 24


class PicturesOfRows:
    """`came` is called, on whatever thread, with the future of pictures that were asked for."""

    def __init__(self, studio: Studio, came: Callable[[Future[RowPictures]], None]) -> None:
        self._studio = studio
        self._came = came
        self._asked: object = None
        self.shown: RowPictures | None = None

    def of(self, row: RowView, width: int, height: int, shades: bool) -> tuple[Preview, ...]:
        """The row's pictures as they were drawn last, for a panel of `width` by `height` cells;
        empty until they have come. `shades` where the terminal has too few colours."""
        if row.example is None or not row.example.media:
            return ()
        columns, rows = min(MOST_COLUMNS, width - 2), max(4, min(MOST_ROWS, height // 2))
        wanted = (row.dataset, row.index, self._studio.config, columns, rows)
        if wanted != self._asked:
            from engine.worker.row_pictures import row_pictures

            self._asked = wanted
            self._studio.ask(self._came, row_pictures, *wanted, shades, key="pictures")
        shown = self.shown
        if shown is None or (shown.dataset, shown.index) != (row.dataset, row.index):
            return ()
        return shown.previews

    def take(self, future: Future[RowPictures]) -> bool:
        """What came; False where another row was asked for meanwhile."""
        try:
            self.shown = future.result()
        except CancelledError:
            return False
        except (FinetuiError, OSError):
            self.shown = None  # the row itself says what is wrong with its set
        return True
