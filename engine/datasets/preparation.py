"""All rows of a run as tokens: sets joined, a validation part held out, unusable rows counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.encode import Encoded, Encoder
from engine.datasets.example import Example, RowProblem
from engine.datasets.fill import Fill, has_placeholders
from engine.datasets.hub import Access, Fetched, was_fetched
from engine.datasets.listing import fits
from engine.datasets.local import idle_parts
from engine.datasets.mixing import mixed_order, mixing_note, rows_used
from engine.datasets.packing import packed
from engine.datasets.parallel import (
    EncodeBlocks,
    ProgressCall,
    Telling,
    encoding,
    encoding_blocks,
)
from engine.datasets.preparation_words import (
    NOTHING_TRAINED,
    PLACEHOLDERS,
    check_reads,
    cut_notes,
    dropped_notes,
    nothing_left,
    stop_at_bad,
)
from engine.datasets.prepared import Prepared
from engine.datasets.registry import find_dataset
from engine.datasets.rows import RowIndex, open_rows
from engine.datasets.stage_rows import PartRows, RowForm, TokenRows, form_of, new_rows
from engine.datasets.token_cache import Keeping
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

# Rows between two looks at the stop request; results do not depend on it.
BLOCK = 256

__all__ = ["BLOCK", "Prepared", "ProgressCall", "Selection", "encode_rows", "encoding"]
__all__ += ["prepare", "select", "set_names", "split"]


@dataclass
class Selection:
    """Rows of several sets, converted, in order, before they are tokens."""

    examples: list[tuple[str, Example]]
    dropped: list[RowProblem]
    notes: list[str]


def set_names(value: str | Sequence[str] | None) -> list[str]:
    """The names of a comma list (or of a real one)."""
    parts = value.split(",") if isinstance(value, str) else (value or ())
    return [name for part in parts if (name := part.strip())]


def select(
    config: RunConfig,
    names: Sequence[str],
    stage: str | None = None,
    progress: ProgressCall | None = None,
    check_stop: Callable[[], None] | None = None,
    fetch: bool = True,
    fetched: Mapping[str, Fetched] | None = None,
) -> Selection:
    """The usable rows of the named sets, one after the other, the first max_samples of each.

    Without `fetch`, sets of a hub that were not fetched before are left out; those in `fetched`, by
    name, are not fetched again. Raises BadInput for a
    set that isn't there, can't be read or is not for the stage.
    """
    stage = stage or str(config.stage)
    fill = Fill.of(config)
    chosen = Selection([], [], [])
    infos = [find_dataset(name, config.dataset_dir) for name in names]
    check_fit(infos, stage)
    chosen.notes += [told for info in infos if (told := idle_parts(info))]
    for info in infos:
        if progress and info.hub:
            progress(f"Fetching {info.name}", 0, 0, "rows")
        if info.path is None and not (fetch or was_fetched(info)):
            continue
        if fetched and info.name in fetched:
            rows = RowIndex(info, fetched[info.name].rows, fill)
        else:
            rows = open_rows(info, fill=fill, access=Access.of(config, progress, check_stop))
        _read(rows, rows_wanted(rows, info, config), chosen, progress, check_stop)
    return chosen


def check_fit(infos: Sequence[DatasetInfo], stage: str) -> None:
    """Raise BadInput for a set that is not for the stage."""
    for info in infos:
        reason = fits(info, stage)
        if reason:
            raise BadInput(
                Problem(
                    f"{info.name} can't be used for {stage}: {reason}.",
                    f"dataset {info.name}",
                    "Choose another set, or another stage.",
                    "dataset",
                )
            )


def prepare(
    config: RunConfig,
    encoder: Encoder,
    progress: ProgressCall | None = None,
    check_stop: Callable[[], None] | None = None,
    form: RowForm | None = None,
    over: Callable[[EncodeBlocks], EncodeBlocks] | None = None,
    keep: bool = True,
) -> Prepared:
    """Read, split and encode the run's sets: `dataset`, `eval_dataset`, `val_size`, `max_samples`.

    `form` is the form of the rows; None takes that of the run's stage.
    `progress(activity, done, total, unit)` is told between blocks of rows, `check_stop()` asked.
    Bad rows are dropped and counted; with bad_rows: stop they raise BadInput, as do sets of which
    nothing usable is left. `over` stands before the encoder, for rows that are tokens already.
    Without `keep` nothing is written.
    """
    names, held_names = set_names(config.dataset), set_names(config.eval_dataset)
    if not names and not held_names:
        raise BadInput(Problem("No dataset is chosen.", "dataset", "Choose one.", "dataset"))
    if form is None:
        form = form_of(config.stage, config.distill_on == "samples")
    if config.streaming and names:
        return _streamed(config, encoder, form, progress, check_stop)
    infos = [find_dataset(name, config.dataset_dir) for name in (*names, *held_names)]
    if progress:
        progress("Looking for kept tokens", 0, 0, "rows")
    check_fit(infos, config.stage)
    access = Access.of(config, progress, check_stop)
    train, held = infos[: len(names)], infos[len(names) :]
    kept = Keeping(config, encoder, form, train, held, check_stop, access)
    there = kept.find()
    if there is not None:
        return there
    made = _prepare(config, encoder, form, progress, check_stop, over, kept)
    return kept.keep(made) if keep else made


def _streamed(
    config: RunConfig,
    encoder: Encoder,
    form: RowForm,
    progress: ProgressCall | None,
    check_stop: Callable[[], None] | None,
) -> Prepared:
    """Rows to be encoded while the run trains; those to measure on are encoded now."""
    from engine.datasets.prepare_streamed import (
        RowsSeen,
        check_media,
        first_rows,
        open_streamed,
        streamed,
        unbounded,
    )

    infos = [find_dataset(name, config.dataset_dir) for name in set_names(config.dataset)]
    check_fit(infos, config.stage)
    check_media(config, infos)
    if progress:
        progress("Counting rows", 0, 0, "rows")
    sets = open_streamed(config, infos, progress, check_stop)
    dropped: list[RowProblem] = []
    held = new_rows(form)
    eval_counts: dict[str, int] = {}
    rows, notes = streamed(config, encoder, sets)
    notes += unbounded(infos)
    if config.val_size:
        held, dropped = first_rows(config, encoder, sets, form, check_stop)
        stop_at_bad(config, dropped)
        notes += dropped_notes(dropped)
        eval_counts = {set_names(config.dataset)[0]: len(held)}
    elif config.eval_dataset:
        # Texts to measure on are packed as those to train on are; conversations stay as they are.
        kept = config.packing if config.stage == "pt" else False
        apart = replace(config, dataset=None, streaming=False, packing=kept, neat_packing=False)
        measured = prepare(apart, encoder, progress, check_stop, form)
        held, dropped = measured.eval, list(measured.dropped)
        eval_counts, notes = dict(measured.eval_counts), [*notes, *measured.notes]
    counts = RowsSeen(sets)
    notes = [*encoder.notes, *notes]
    return Prepared(rows, held, counts, eval_counts, tuple(dropped), tuple(notes))


def _prepare(
    config: RunConfig,
    encoder: Encoder,
    form: RowForm,
    progress: ProgressCall | None,
    check_stop: Callable[[], None] | None,
    over: Callable[[EncodeBlocks], EncodeBlocks] | None,
    kept: Keeping,
) -> Prepared:
    names, held_names = set_names(config.dataset), set_names(config.eval_dataset)
    chosen = select(config, names, None, progress, check_stop, True, kept.fetched)
    held_out = select(config, held_names, None, progress, check_stop, True, kept.fetched)
    kept.saw(example for _, example in (*chosen.examples, *held_out.examples))
    dropped = [*chosen.dropped, *held_out.dropped]
    stop_at_bad(config, dropped)
    examples = chosen.examples
    evaluated = held_out.examples
    if config.val_size and not evaluated:
        stay, out = split(len(examples), config.val_size, config.seed)
        evaluated = [examples[i] for i in out]
        examples = [examples[i] for i in stay]
    check_reads(encoder, config.stage, [*examples, *evaluated])
    with encoding_blocks(config, encoder, form, len(examples) + len(evaluated)) as encode:
        if over is not None:
            encode = over(encode)
        told = Telling(progress, check_stop, len(examples) + len(evaluated))
        size = config.preprocessing_batch_size
        train, counts = encode_rows(examples, new_rows(form), encode, dropped, told, size)
        held, eval_counts = encode_rows(evaluated, new_rows(form), encode, dropped, told, size)
    stop_at_bad(config, dropped)
    if names and not len(train):
        raise nothing_left(names, dropped)
    if not names and not len(held):
        raise nothing_left(set_names(config.eval_dataset), dropped)
    notes = [*encoder.notes, *chosen.notes, *held_out.notes]
    if encoder.chat.tools_note and any(example.tools for _, example in chosen.examples):
        notes.append(encoder.chat.tools_note)
    notes += dropped_notes(dropped) + cut_notes(train, encoder)
    if len(names) > 1:
        train, counts = _mixed(config, train, counts, notes)
    if form == "tokens":
        assert isinstance(train, TokenRows) and isinstance(held, TokenRows)
        train, held = packed(config, train, held, eval_counts, notes)
    return Prepared(train, held, counts, eval_counts, tuple(dropped), tuple(notes))


def _mixed(
    config: RunConfig, rows: TokenRows | PartRows, counts: Mapping[str, int], notes: list[str]
) -> tuple[TokenRows | PartRows, dict[str, int]]:
    """The rows of several sets as `mix_strategy` joins them, and how many there are of each."""
    names = set_names(config.dataset)
    sizes = [counts.get(name, 0) for name in names]
    shares = [float(share) for share in (config.interleave_probs or "").split(",") if share]
    order = mixed_order(sizes, config.mix_strategy, shares or None, config.seed)
    used = rows_used(sizes, order)
    notes.append(mixing_note(names, sizes, used, config.mix_strategy))
    mixed = rows if config.mix_strategy == "concat" else rows.chosen(order)
    return mixed, {name: count for name, count in zip(names, used, strict=True) if count}


def split(rows: int, val_size: float, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers (from 0) to train on and to validate on, both in order.

    `val_size` below 1 is a share, from 1 on a count. Raises BadInput where nothing is left.
    """
    wanted = int(val_size) if val_size >= 1 else max(1, round(rows * val_size))
    if wanted >= rows:
        raise BadInput(
            Problem(
                f"val_size takes {wanted:,} of {rows:,} rows: none is left to train on.",
                "val_size",
                "Make it smaller.",
                "val_size",
            )
        )
    out = set(random.Random(seed).sample(range(rows), wanted))
    return [i for i in range(rows) if i not in out], sorted(out)


def rows_wanted(rows: RowIndex, info: DatasetInfo, config: RunConfig) -> Sequence[int]:
    """Which rows of a set are used, from 0: `num_samples` random ones, the first max_samples."""
    numbers: Sequence[int] = range(len(rows))
    if info.num_samples is not None and len(rows):
        source = random.Random(config.seed)
        whole, rest = divmod(info.num_samples, len(rows))
        numbers = [*source.sample(range(len(rows)), rest)]
        numbers += [n for _ in range(whole) for n in source.sample(range(len(rows)), len(rows))]
    return numbers if config.max_samples is None else numbers[: config.max_samples]


def _read(
    rows: RowIndex,
    numbers: Sequence[int],
    into: Selection,
    progress: ProgressCall | None,
    check_stop: Callable[[], None] | None,
) -> None:
    unfilled = 0
    for place, number in enumerate(numbers):
        if place % BLOCK == 0:
            if check_stop:
                check_stop()
            if progress:
                progress(f"Reading {rows.name}", place, len(numbers), "rows")
        example = rows.example(number)
        if isinstance(example, RowProblem):
            into.dropped.append(example)
            continue
        unfilled += has_placeholders(example)
        into.examples.append((rows.name, example))
    if unfilled:
        hint = (
            "set identity_name and identity_author." if rows.filled else "it is read as it stands."
        )
        into.notes.append(f"{rows.name}: {PLACEHOLDERS} stands in {unfilled:,} of its rows; {hint}")


def encode_rows(
    examples: Sequence[tuple[str, Example]],
    rows: TokenRows | PartRows,
    encode: EncodeBlocks,
    dropped: list[RowProblem],
    told: Telling,
    size: int,
) -> tuple[TokenRows | PartRows, dict[str, int]]:
    """Encode rows, `size` at once, into `rows`, and count those of each set that are usable; the
    others go to `dropped`."""
    counts: Counter[str] = Counter()
    starts = range(0, len(examples), size)
    blocks = ([example for _, example in examples[start : start + size]] for start in starts)
    for start, encoded in zip(starts, encode(blocks), strict=True):
        block = examples[start : start + size]
        for (name, example), row in zip(block, encoded, strict=True):
            if isinstance(row, RowProblem):
                dropped.append(RowProblem(name, row.row, row.reason))
            elif isinstance(row, Encoded) and not any(row.trained):
                dropped.append(RowProblem(name, example.source_row, NOTHING_TRAINED))
            else:
                rows.append(row)  # type: ignore[arg-type]  # encode and rows are of one form
                counts[name] += 1
        told.of(len(block))
    return rows, dict(counts)
