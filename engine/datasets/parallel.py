"""Rows become tokens block by block, in this process or in several.

Other processes are started anew (`spawn`: a fork beside a thread that trains may never wake), know
no torch, and leave Ctrl+C to this one. Where they can't be started or one dies, this process does
the rest: the rows are the same.
"""

from __future__ import annotations

import os
import signal
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.encode import Encoded
from engine.datasets.encode_parts import as_text, encode_parts
from engine.datasets.example import Example, RowProblem
from engine.datasets.formats.fields import RowFault
from engine.datasets.stage_rows import EncodedParts, RowForm

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder

Block = Sequence["Encoded | EncodedParts | RowProblem"]
Encode = Callable[[Sequence[Example]], Block]
EncodeBlocks = Callable[[Iterable[Sequence[Example]]], Iterator[Block]]
ProgressCall = Callable[[str, float, float, str], None]

# Below so many rows a process costs more to start than it saves (measured: about 1 s each).
WORTH_PROCESSES = 20_000
# Each holds a tokenizer; more than these wait for the one that hands out rows.
MOST_PROCESSES = 8


class Telling:
    """The progress of tokenising, and the question whether to stop, asked between blocks."""

    def __init__(
        self, progress: ProgressCall | None, check_stop: Callable[[], None] | None, total: int
    ) -> None:
        self._progress, self._check_stop, self._total = progress, check_stop, total
        self._done = 0
        self.of(0)

    def of(self, rows: int) -> None:
        """`rows` more are done. Raises Stopped where that was asked for."""
        self._done += rows
        if self._check_stop:
            self._check_stop()
        if self._progress and self._total:
            self._progress("Tokenising", self._done, self._total, "rows")


def encoding(encoder: Encoder, form: RowForm, stage: str) -> Encode:
    """How a block of rows becomes tokens of a form; a bad row comes back as a RowProblem."""
    if form != "tokens":
        return lambda block: encode_parts(encoder, block, form)
    if stage == "pt":
        return lambda block: _encode_texts(encoder, block)
    return encoder.encode_batch


def processes_for(config: RunConfig, encoder: Encoder, rows: int) -> int:
    """How many processes turn `rows` rows into tokens; 1 is this one.

    Never more than cores. Pictures are read by the model's processor, which stays here.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = min(cores or 1, MOST_PROCESSES)
    if encoder.media is not None:
        return 1
    if config.preprocessing_num_workers is not None:
        return max(1, min(config.preprocessing_num_workers, most, rows // 1000))
    # One core stays with this process, which reads the rows and takes in the tokens.
    return max(1, most - 1) if rows >= WORTH_PROCESSES else 1


@contextmanager
def encoding_blocks(
    config: RunConfig, encoder: Encoder, form: RowForm, rows: int
) -> Iterator[EncodeBlocks]:
    """A function that turns blocks of rows into blocks of tokens, in order."""
    here = encoding(encoder, form, config.stage)
    count = processes_for(config, encoder, rows)
    if count < 2:
        yield lambda blocks: map(here, blocks)
        return
    pool = ProcessPoolExecutor(
        count,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(encoder.tokenizer.folder, replace(config, hf_hub_token=None), form),
    )
    try:
        yield lambda blocks: _spread(pool, count, here, blocks)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _spread(
    pool: ProcessPoolExecutor, count: int, here: Encode, blocks: Iterable[Sequence[Example]]
) -> Iterator[Block]:
    """The blocks in order; those of a pool that broke are made here."""
    waiting: deque[tuple[Sequence[Example], Future[Block] | None]] = deque()
    broken = False

    def first() -> Block:
        nonlocal broken
        block, future = waiting.popleft()
        if future is not None:
            try:
                return future.result()
            except (BrokenProcessPool, OSError, EOFError):
                broken = True
        return here(block)

    for block in blocks:
        future: Future[Block] | None = None
        if not broken:
            try:
                future = pool.submit(_encode_there, block)
            except (BrokenProcessPool, RuntimeError, OSError):
                broken = True
        waiting.append((block, future))
        if len(waiting) > 3 * count:
            yield first()
    while waiting:
        yield first()


# What a further process encodes with, set once when it starts.
_THERE: dict[str, Encode] = {}


def _begin(folder: Path, config: RunConfig, form: RowForm) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from engine.datasets.encode import Encoder

    _THERE["encode"] = encoding(Encoder(folder, config), form, config.stage)


def _encode_there(block: Sequence[Example]) -> list[Any]:
    return [_compact(row) for row in _THERE["encode"](block)]


def _compact(row: Any) -> Any:
    """A row as it is sent: flat arrays, which cost a fraction of lists on their way back, and are
    appended to rows as they are. The texts are for the token view and stay behind."""
    ids: Any
    if isinstance(row, Encoded):
        ids, trained = array("i", row.ids), bytes(row.trained)
        return replace(row, ids=ids, trained=trained, text="")  # type: ignore[arg-type]
    if isinstance(row, EncodedParts):
        ids = tuple(array("i", part) for part in row.parts)
        return replace(row, parts=ids)
    return row


def _encode_texts(
    encoder: Encoder, block: Sequence[Example]
) -> list[Encoded | EncodedParts | RowProblem]:
    texts: list[Example | RowProblem] = []
    for example in block:
        try:
            texts.append(as_text(encoder, example))
        except RowFault as fault:
            texts.append(RowProblem("", example.source_row, str(fault)))
    encoded = iter(encoder.encode_batch([text for text in texts if isinstance(text, Example)]))
    return [text if isinstance(text, RowProblem) else next(encoded) for text in texts]
