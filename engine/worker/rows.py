"""Sets that are looked at: opened once, searched, filtered and sorted in the background.

All of these are asked on the look-up thread; what they begin goes on by itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine.config import RunConfig

if TYPE_CHECKING:
    from engine.datasets import RowIndex
    from engine.datasets.browse.lengths import TokenLengths
    from engine.datasets.browse.walk import RowWalk
    from engine.datasets.browse.wanted import Wanted

    __all__ = ["RowWalk", "TokenLengths"]

C = TypeVar("C", bound="TokenLengths")
# The screen looks at rows of one set at a time; the one before is kept for a glance back.
_KEPT = 2
_opened: OrderedDict[tuple[Any, ...], RowIndex] = OrderedDict()
# So long a question waits for what it began: a small set answers at once.
_PATIENCE = 0.25


@dataclass(frozen=True)
class IndexState:
    """How far a set's index is: `known` rows can be looked at, `share` of it is done. `problem` is
    why the rest can't be."""

    dataset: str
    known: int
    share: float
    problem: str = ""


def rows_of(name: str, config: RunConfig) -> RowIndex:
    """The rows of a set as the form describes it; kept open until its files change, or other sets
    are looked at. Raises BadInput."""
    from engine.datasets import Fill, find_dataset, open_rows
    from engine.datasets.counts import stamp
    from engine.datasets.hub import Access
    from engine.datasets.local import local_files

    info = find_dataset(name, config.dataset_dir)
    fill = (config.identity_name, config.identity_author)
    key = (info, fill, tuple(stamp(local_files(info)) or ()) if info.path is not None else ())
    if key not in _opened:
        # A glance fetches nothing: sets may be large, and the cursor only passes over them.
        access = Access.of(config, fetch=False)
        _opened[key] = open_rows(info, config.dataset_dir, Fill(*fill), access=access)
    _opened.move_to_end(key)
    while len(_opened) > _KEPT:
        _opened.popitem(last=False)[1].close()
    return _opened[key]


def reached(rows: RowIndex, index: int) -> bool:
    """Whether a row can be read, or never will be; waits a moment for it."""
    until = time.monotonic() + _PATIENCE
    while index >= rows.known and not rows.done and time.monotonic() < until:
        time.sleep(0.005)
    return index < rows.known or rows.done


def index_state(name: str, config: RunConfig) -> IndexState:
    """How far the index of a set is; its count is remembered once it is done. Raises BadInput."""
    rows = rows_of(name, config)
    if rows.fault is not None:
        return IndexState(name, rows.known, 1.0, str(rows.fault))
    if rows.done:
        rows.learn_count()
    return IndexState(name, rows.known, 1.0 if rows.done else min(rows.share, 0.999))


def begin_search(
    name: str,
    text: str,
    place: int,
    numbers: Sequence[int] | None,
    config: RunConfig,
    told: Callable[[], None],
) -> RowWalk:
    """Look for rows that hold a text, or what `/…/` finds as a regular expression, from behind
    `place` of the order `numbers` (None: the file's). Raises BadInput."""
    from engine.datasets.browse.walk import RowWalk
    from engine.datasets.browse.wanted import with_pattern, with_text

    pattern = as_pattern(text)
    wanted = with_text(text) if pattern is None else with_pattern(pattern)
    walk = RowWalk(rows_of(name, config), wanted, place + 1, numbers, told)
    walk.wait(_PATIENCE)
    return walk


def begin_filter(name: str, text: str, config: RunConfig, told: Callable[[], None]) -> RowWalk:
    """Look for the rows that meet conditions (`with_filter`). Raises BadInput."""
    from engine.datasets.browse.walk import RowWalk

    rows = rows_of(name, config)
    walk = RowWalk(rows, filter_of(text, rows, config), told=told)
    walk.join(_PATIENCE)
    return walk


def filter_of(text: str, rows: RowIndex, config: RunConfig) -> Wanted:
    """Conditions (`with_filter`) that count the tokens of `rows` as the model and the settings of
    `config` write them. Raises BadInput."""
    from engine.datasets.browse.counted import CountedRows, TrainedTokens
    from engine.datasets.browse.lengths import TokenLengths
    from engine.datasets.browse.wanted import with_filter
    from engine.datasets.packing import packs

    if not asks_for_tokens(text):
        return with_filter(text)
    tokens = _counting(TokenLengths, rows, config, _OF_TOKENS)
    trained = _counting(TrainedTokens, rows, config, _OF_TOKENS | _OF_TRAINED)
    # Packed text is cut into rows afterwards, and nothing of it is lost.
    cutoff = None if packs(config) else config.cutoff_len
    return with_filter(text, CountedRows(tokens, trained, cutoff))


def begin_lengths(name: str, config: RunConfig, told: Callable[[], None]) -> TokenLengths:
    """Count the tokens of each row, or take them from the cache. Raises BadInput."""
    from engine.datasets.browse.lengths import TokenLengths

    lengths = _counting(TokenLengths, rows_of(name, config), config, _OF_TOKENS, told)()
    lengths.join(_PATIENCE)
    return lengths


def counts_depend_on(config: RunConfig) -> tuple[Any, ...]:
    """What the tokens of rows depend on, besides the rows: filters and orders by tokens hold while
    it stays."""
    from engine.config import to_flat

    flat = to_flat(config)
    keys = sorted(_OF_TOKENS | _OF_TRAINED | {"model_name_or_path"})
    return tuple(repr(flat.get(key)) for key in keys)


def _counting(
    kind: type[C],
    rows: RowIndex,
    config: RunConfig,
    keys: frozenset[str],
    told: Callable[[], None] | None = None,
) -> Callable[[], C]:
    """What begins to count, of the rows as the form's model and settings write them."""
    from engine import models
    from engine.config import to_flat
    from engine.datasets.browse.lengths import encoder_identity

    folder = models.resolve(config.model_name_or_path or "").path

    def encoder() -> Any:
        from engine.datasets import Encoder

        return Encoder(folder, config)

    flat = {key: value for key, value in to_flat(config).items() if key in keys}
    identity = f"{kind.__name__} {encoder_identity(folder, flat)}"
    return lambda: kind(rows, encoder, identity, told)


def as_pattern(text: str) -> str | None:
    """The expression of a search that is one: `/who.*you/`; None for a plain text."""
    inner = text.strip()
    return inner[1:-1] if len(inner) > 2 and inner[0] == inner[-1] == "/" else None


def search_fault(text: str) -> str:
    """Why a text can't be looked for; empty where it can."""
    from engine.datasets.browse.wanted import with_pattern, with_text

    pattern = as_pattern(text)
    return _fault(with_text, text) if pattern is None else _fault(with_pattern, pattern)


def filter_fault(text: str) -> str:
    """Why conditions can't be read; empty where they can."""
    from engine.datasets.browse.wanted import check_filter

    return _fault(check_filter, text)


def asks_for_tokens(text: str) -> bool:
    """Whether a filter that can be read asks for rows as tokens."""
    from engine.datasets.browse import wanted

    return bool(text) and wanted.asks_for_tokens(text)


def _fault(read: Callable[[str], object], text: str) -> str:
    from engine.problem import BadInput

    try:
        read(text)
    except BadInput as error:
        return f"{error.problem.what} {error.problem.hint}".strip()
    return ""


# What the number of a row's tokens depends on, besides the model and the row.
_OF_TOKENS = frozenset(
    {
        "add_special_tokens",
        "add_tokens",
        "default_system",
        "enable_thinking",
        "identity_author",
        "identity_name",
        "image_do_pan_and_scan",
        "image_max_pixels",
        "image_min_pixels",
        "crop_to_patches",
        "media_dir",
        "new_special_tokens_config",
        "preserve_thinking",
        "split_special_tokens",
        "stage",
        "template",
        "tool_format",
        "video_fps",
        "video_max_pixels",
        "video_maxlen",
        "video_min_pixels",
    }
)
# And what of them is trained.
_OF_TRAINED = frozenset(
    {"cutoff_len", "mask_history", "neat_packing", "packing", "train_on_prompt"}
)
