"""The validation part of a run beside its training part: which of its rows are trained on."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

from engine.datasets.checks.near import Alike, Progress, leakage
from engine.datasets.example import Example
from engine.datasets.fill import Fill
from engine.datasets.hub import Access
from engine.datasets.preparation import check_fit, rows_wanted, set_names, split
from engine.datasets.registry import find_dataset
from engine.datasets.rows import RowIndex, open_rows

if TYPE_CHECKING:
    from engine.config import RunConfig

_BLOCK = 512
Numbered = tuple[str, Example]


class _Rows(Sequence[Numbered]):
    """Usable rows of several sets, read when they are asked for: 12 bytes are kept of each."""

    def __init__(self) -> None:
        self.sets: list[RowIndex] = []
        self.of = array("I")
        self.numbers = array("Q")

    def chosen(self, places: Sequence[int]) -> _Rows:
        rows = _Rows()
        rows.sets = self.sets
        rows.of = array("I", (self.of[place] for place in places))
        rows.numbers = array("Q", (self.numbers[place] for place in places))
        return rows

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Numbered: ...
    @overload
    def __getitem__(self, place: slice) -> list[Numbered]: ...
    def __getitem__(self, place: int | slice) -> Numbered | list[Numbered]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        rows = self.sets[self.of[place]]
        example = rows.example(self.numbers[place])
        # A file that was written to meanwhile may hold anything there.
        bad = not isinstance(example, Example)
        return rows.name, Example("text", self.numbers[place] + 1) if bad else example  # type: ignore[return-value]


def run_leaks(
    config: RunConfig,
    most: int,
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> list[Alike]:
    """The leakage between the training and the validation rows of a run, `most` rows of each set;
    `told` hears where that is not all of one.

    Empty where it validates on nothing. Sets of a hub are not fetched. Raises BadInput for sets
    that can't be read.
    """
    held_sets = set_names(config.eval_dataset)
    if not config.val_size and not held_sets:
        return []
    train = _read(config, set_names(config.dataset), most, check_stop, told)
    if held_sets:
        held = _read(config, held_sets, most, check_stop, told)
    else:
        kept, out = split(len(train), config.val_size, config.seed)
        train, held = train.chosen(kept), train.chosen(out)
    return leakage(train, held, progress, check_stop)


def _read(
    config: RunConfig,
    names: Sequence[str],
    most: int,
    check_stop: Callable[[], None] | None,
    told: Callable[[str], None] | None,
) -> _Rows:
    infos = [find_dataset(name, config.dataset_dir) for name in names]
    check_fit(infos, str(config.stage))
    fill = Fill.of(config)
    access = Access.of(config, check_stop=check_stop, fetch=False)
    chosen = _Rows()
    for place, info in enumerate(infos):
        rows = open_rows(info, fill=fill, access=access)
        wanted = rows_wanted(rows, info, config)
        if told is not None and len(wanted) > most:
            told(only_first(most, len(wanted), info.name))
        chosen.sets.append(rows)
        for done, number in enumerate(wanted[:most]):
            if check_stop and not done % _BLOCK:
                check_stop()
            if isinstance(rows.example(number), Example):
                chosen.of.append(place)
                chosen.numbers.append(number)
    return chosen


def only_first(most: int, total: int, name: str) -> str:
    """What is said where not every row is compared with the others."""
    return f"Only the first {most:,} of the {total:,} rows of {name} were compared with each other."
