"""Rows of a hub's set, read over the network in their order: nothing of it is kept on the disk.

The package `datasets` finds the files of a subset and split, and reads them piece by piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, FinetuiError, Problem, Stopped

if TYPE_CHECKING:
    from engine.datasets.dataset_info import DatasetInfo
    from engine.datasets.hub import Access

# A place among the rows: how many come before it, and the reader's own words for it.
Place = dict[str, Any]


class StreamBroke(BadInput):
    """The hub stopped answering in the middle of a run: what was trained is to be kept."""

    save = True


class FarRows:
    """Rows by number, each read once on the way to it: asked for in their order they cost nothing.

    Asked for an earlier one than the last, the set is read from its beginning again. `known` rows
    were seen so far; `done` when the end was. Raises BadInput where the hub does not answer.
    """

    share = 1.0
    fault = None

    def __init__(
        self, open_set: Callable[[], Any], info: DatasetInfo, check_stop: Callable[[], object]
    ) -> None:
        self.known = 0
        self.done = False
        self._open_set = open_set
        self._info = info
        self._check_stop = check_stop
        self._set: Any = None
        self._reader: Iterator[dict[str, Any]] | None = None
        self._next = 0  # the number of the row that the reader gives next
        # The two rows read last, and the reader's state before each: who asks whether there is a
        # row behind one has read it.
        self._recent: deque[tuple[int, dict[str, Any], Any]] = deque(maxlen=2)

    def __len__(self) -> int:
        """All rows, once the end was seen; until then those seen."""
        return self.known

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < 0 or (self.done and index >= self.known):
            raise IndexError(index)
        for number, row, _ in self._recent:
            if number == index:
                return row
        if self._reader is None or index < self._next:
            self._begin()
        while self._next <= index:
            self._read()
        return self._recent[-1][1]

    def place(self, index: int) -> Place | None:
        """Where row `index`, one of the two read last, begins; `go_to` goes on from it."""
        found = [state for number, _, state in self._recent if number == index]
        if index == self._next and self._reader is not None:
            found = [self._set.state_dict()]
        return {"row": index, "reader": found[0]} if found and found[0] else None

    def go_to(self, place: Place) -> None:
        """Go on with the row of a place, without those before it: whole files are passed over."""
        self._begin()
        self._set.load_state_dict(place["reader"])
        self._reader = iter(self._set)
        self._next = int(place["row"])
        self.known = max(self.known, self._next)

    def _begin(self) -> None:
        self._set = self._guarded(self._open_set)
        self._reader = iter(self._set)
        self._next = 0
        self._recent.clear()

    def _read(self) -> None:
        if not self._next % 64:
            self._check_stop()
        assert self._reader is not None
        before = self._set.state_dict()
        row = self._guarded(lambda: next(self._reader, None))  # type: ignore[arg-type]
        if row is None:
            self.done = True
            self._reader = None
            raise IndexError(self._next)
        self._recent.append((self._next, row, before))
        self._next += 1
        self.known = max(self.known, self._next)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        from engine.datasets.hub import _why

        try:
            return call()
        except (FinetuiError, Stopped):
            raise
        except FileNotFoundError:
            raise self._bad(
                f"There is no dataset {self._info.hf_hub_url} on the hub, or it can't be reached "
                "from here.",
                "Check the name and the network, or download the files and give file_name.",
            ) from None
        except Exception as error:
            # The readers below `datasets` raise errors of no common kind.
            raise self._bad(
                f"{self._info.hf_hub_url} could not be read on from row {self._next + 1:,}: "
                f"{_why(error)}.",
                "Check the network, then resume the run: it goes on at the same row.",
            ) from None

    def _bad(self, what: str, hint: str) -> BadInput:
        return StreamBroke(Problem(what, f"dataset {self._info.name}", hint, "dataset"))


def streams_from_hub(info: DatasetInfo, hub: str) -> bool:
    """Whether a set is read as it comes: those of Hugging Face are; others are fetched whole."""
    from engine.datasets.hub import _prefers_modelscope

    if info.path is not None or not info.hf_hub_url:
        return False
    return not (info.ms_hub_url and (hub == "modelscope" or _prefers_modelscope()))


def far_rows(info: DatasetInfo, access: Access) -> FarRows:
    """The rows of a Hugging Face set, to be read as they come."""

    def open_set() -> Any:
        import datasets

        from engine.datasets.hub import _undecoded

        found = datasets.load_dataset(
            info.hf_hub_url,
            info.subset,
            split=info.split,
            data_dir=info.hub_folder,
            token=access.token,
            streaming=True,
        )
        return _undecoded(found)

    return FarRows(open_set, info, access.check_stop or (lambda: None))
