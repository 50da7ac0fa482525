"""Rows that the check made tokens of, handed on to the run that is prepared after it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from engine.datasets.encoded import Encoded
from engine.datasets.example import Example, RowProblem
from engine.datasets.parallel import Block, EncodeBlocks
from engine.datasets.stage_rows import EncodedParts, RowForm, TokenRows, new_rows

Content = Callable[[Example], int]

# About 320 MB; a larger set is tokenised anew by its run.
MOST_TOKENS = 64 << 20


class SeenRows:
    """Rows of one set as tokens of a form, known by their numbers and by what they hold.

    `given_up` once they are more than is kept, or have media.
    """

    def __init__(self, form: RowForm, most: int = MOST_TOKENS) -> None:
        self.given_up = False
        self._most = most
        self._rows = new_rows(form)
        self._cut = array("Q")
        self._tokens = 0
        self._places: dict[int, tuple[int, int | RowProblem]] = {}

    def add(self, example: Example, content: int, row: Encoded | EncodedParts | RowProblem) -> None:
        """A row and its tokens; `content` is a number made of all that it holds."""
        if self.given_up:
            return
        place: int | RowProblem = len(self._cut)
        if isinstance(row, RowProblem):
            place = row
        else:
            sizes = (len(row.ids),) if isinstance(row, Encoded) else map(len, row.parts)
            self._tokens += sum(sizes)
            self._rows.append(row)  # type: ignore[arg-type]  # rows and row are of one form
            self._cut.append(row.cut)
        self._places[example.source_row] = content, place
        if example.media or self._tokens > self._most:
            self.given_up = True
            self._places.clear()
            self._rows = TokenRows()

    def over(self, encode: EncodeBlocks, content: Content) -> EncodeBlocks:
        """`encode` for rows that are not known; `content` gives a row's number as in `add`."""

        def blocks(source: Iterable[Sequence[Example]]) -> Iterator[Block]:
            for block in source:
                known = [self._known(example, content(example)) for example in block]
                rows = [row for row in known if row is not None]
                if len(rows) == len(known):
                    yield rows
                else:
                    yield from encode([block])

        return blocks

    def _known(self, example: Example, content: int) -> Encoded | EncodedParts | RowProblem | None:
        had, place = self._places.get(example.source_row, (0, -1))
        if had != content or place == -1:
            return None
        if isinstance(place, RowProblem):
            return place
        row = self._rows[place]
        if isinstance(self._rows, TokenRows):
            trained = [label >= 0 for label in row["labels"]]
            return Encoded(row["input_ids"], trained, self._cut[place], "")
        parts = tuple(row[name] for name in self._rows.parts)
        extra = tuple(row[name] for name in self._rows.extra)
        return EncodedParts(parts, extra, self._cut[place])
