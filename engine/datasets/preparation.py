"""All rows of a run as tokens: sets joined, a validation part held out, unusable rows counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config.media import PICTURE_STAGES
from engine.datasets.encode import Encoded, Encoder, packs
from engine.datasets.encode_parts import as_text, encode_parts
from engine.datasets.example import Example, RowProblem
from engine.datasets.fill import Fill, has_placeholders
from engine.datasets.formats.fields import RowFault
from engine.datasets.listing import fits
from engine.datasets.registry import DatasetInfo, find_dataset
from engine.datasets.rows import RowIndex, open_rows
from engine.datasets.stage_rows import EncodedParts, PartRows, RowForm, TokenRows, form_of, new_rows
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

# Rows between two looks at the stop request; results do not depend on it.
BLOCK = 256
ProgressCall = Callable[[str, float, float, str], None]


@dataclass(frozen=True)
class Prepared:
    """What a run trains and validates on.

    `counts` are the usable rows of each set, `dropped` the rows left out with their reasons,
    `notes` sentences for the log.
    """

    train: TokenRows | PartRows
    eval: TokenRows | PartRows
    counts: Mapping[str, int]
    eval_counts: Mapping[str, int]
    dropped: tuple[RowProblem, ...]
    notes: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return self.train.tokens

    @property
    def longest(self) -> int:
        return max([*self.train.lengths(), *self.eval.lengths()], default=0)


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
) -> Selection:
    """The usable rows of the named sets, one after the other, the first max_samples of each.

    Raises BadInput for a set that isn't there, can't be read or is not for the stage.
    """
    stage = stage or str(config.stage)
    fill = Fill(config.identity_name, config.identity_author)
    chosen = Selection([], [], [])
    token = config.hf_hub_token
    infos = [find_dataset(name, config.dataset_dir) for name in names]
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
    for info in infos:
        if progress and info.hub:
            progress(f"Fetching {info.name}", 0, 0, "rows")
        rows = open_rows(info, fill=fill, token=token)
        _read(rows, _numbers(rows, info, config), chosen, progress, check_stop)
    return chosen


def prepare(
    config: RunConfig,
    encoder: Encoder,
    progress: ProgressCall | None = None,
    check_stop: Callable[[], None] | None = None,
    form: RowForm | None = None,
) -> Prepared:
    """Read, split and encode the run's sets: `dataset`, `eval_dataset`, `val_size`, `max_samples`.

    `form` is the form of the rows; None takes that of the run's stage.
    `progress(activity, done, total, unit)` is told between blocks of rows, `check_stop()` asked.
    Bad rows are dropped and counted; with bad_rows: stop they raise BadInput, as do sets of which
    nothing usable is left.
    """
    names = set_names(config.dataset)
    if not names and not set_names(config.eval_dataset):
        raise BadInput(Problem("No dataset is chosen.", "dataset", "Choose one.", "dataset"))
    chosen = select(config, names, None, progress, check_stop)
    held_out = select(config, set_names(config.eval_dataset), None, progress, check_stop)
    dropped = [*chosen.dropped, *held_out.dropped]
    _stop_at_bad(config, dropped)
    examples = chosen.examples
    evaluated = held_out.examples
    if config.val_size and not evaluated:
        kept, out = split(len(examples), config.val_size, config.seed)
        evaluated = [examples[i] for i in out]
        examples = [examples[i] for i in kept]
    _check_reads(encoder, config.stage, [*examples, *evaluated])
    total = len(examples) + len(evaluated)
    if form is None:
        form = form_of(config.stage, config.distill_on == "samples")
    encode = _encoding(encoder, form, config.stage)
    train, counts = _encode(
        examples, new_rows(form), encode, dropped, progress, check_stop, 0, total
    )
    held, eval_counts = _encode(
        evaluated, new_rows(form), encode, dropped, progress, check_stop, len(examples), total
    )
    _stop_at_bad(config, dropped)
    if names and not len(train):
        raise _nothing(names, dropped)
    if not names and not len(held):
        raise _nothing(set_names(config.eval_dataset), dropped)
    notes = [*encoder.notes, *chosen.notes, *held_out.notes]
    if encoder.chat.tools_note and any(example.tools for _, example in chosen.examples):
        notes.append(encoder.chat.tools_note)
    notes += _dropped_notes(dropped) + _cut_notes(train, encoder)
    if form == "tokens" and packs(config):
        from engine.datasets.packing import pack

        assert isinstance(train, TokenRows) and isinstance(held, TokenRows)
        rows = len(train)
        train, held = pack(train, encoder.cutoff), pack(held, encoder.cutoff)
        notes.append(f"{rows:,} texts were packed into {len(train):,} rows.")
    return Prepared(train, held, counts, eval_counts, tuple(dropped), tuple(notes))


def _check_reads(encoder: Encoder, stage: str, examples: Sequence[tuple[str, Example]]) -> None:
    """Raise BadInput where rows have pictures and the model reads none (rule 49)."""
    name = next((name for name, example in examples if example.media), None)
    if name is not None and stage not in PICTURE_STAGES:
        raise BadInput(
            Problem(
                f"{name} holds pictures, and {stage} trains on text.",
                f"dataset {name}",
                "Choose stage: sft or dpo, or a set of text.",
                "dataset",
            )
        )
    if name is not None and encoder.pictures is None:
        raise BadInput(
            Problem(
                f"{name} holds pictures, and {encoder.tokenizer.folder.name} reads only text.",
                f"dataset {name}",
                "Choose a vision-language model (Qwen2-VL, LLaVA, Gemma 3, SmolVLM, …), or a set "
                "of text.",
                "model_name_or_path",
            )
        )


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


def _numbers(rows: RowIndex, info: DatasetInfo, config: RunConfig) -> Sequence[int]:
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
            "set identity_name and identity_author."
            if rows.filled
            else "they are trained as they stand."
        )
        into.notes.append(f"{rows.name}: {unfilled:,} rows hold {PLACEHOLDERS}; {hint}")


Encode = Callable[[Sequence[Example]], Sequence[Encoded | EncodedParts | RowProblem]]


def _encoding(encoder: Encoder, form: RowForm, stage: str) -> Encode:
    """How a block of rows becomes tokens of a form; a bad row comes back as a RowProblem."""
    if form != "tokens":
        return lambda block: encode_parts(encoder, block, form)
    if stage == "pt":
        return lambda block: _encode_texts(encoder, block)
    return encoder.encode_batch


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


def _encode(
    examples: Sequence[tuple[str, Example]],
    rows: TokenRows | PartRows,
    encode: Encode,
    dropped: list[RowProblem],
    progress: ProgressCall | None,
    check_stop: Callable[[], None] | None,
    done: int,
    total: int,
) -> tuple[TokenRows | PartRows, dict[str, int]]:
    counts: Counter[str] = Counter()
    for start in range(0, len(examples), BLOCK):
        if check_stop:
            check_stop()
        if progress:
            progress("Tokenising", done + start, total, "rows")
        block = examples[start : start + BLOCK]
        encoded = encode([example for _, example in block])
        for (name, example), row in zip(block, encoded, strict=True):
            if isinstance(row, RowProblem):
                dropped.append(RowProblem(name, row.row, row.reason))
            elif isinstance(row, Encoded) and not any(row.trained):
                dropped.append(RowProblem(name, example.source_row, NOTHING_TRAINED))
            else:
                rows.append(row)  # type: ignore[arg-type]  # encode and rows are of one form
                counts[name] += 1
    if progress and examples:
        progress("Tokenising", done + len(examples), total, "rows")
    return rows, dict(counts)


PLACEHOLDERS = "{{name}} or {{author}}"
NOTHING_TRAINED = "nothing of its answer is left after the cutoff"


def _nothing(names: Sequence[str], dropped: Sequence[RowProblem]) -> BadInput:
    if not dropped:
        return BadInput(
            Problem(f"{', '.join(names)} holds no rows.", "dataset", "Choose another.", "dataset")
        )
    first = dropped[0]
    return BadInput(
        Problem(
            f"None of the {len(dropped):,} rows of {', '.join(names)} can be used. "
            f"Row {first.row:,}: {first.reason}.",
            f"dataset {first.dataset}, row {first.row:,}",
            "Check columns and tags in dataset_info.json against the file.",
            "dataset",
        )
    )


def _stop_at_bad(config: RunConfig, dropped: Sequence[RowProblem]) -> None:
    """Raise BadInput for rows that can't be used, where the person wants the run to stop then."""
    if config.bad_rows != "stop" or not dropped:
        return
    first = dropped[0]
    rows = "1 row" if len(dropped) == 1 else f"{len(dropped):,} rows"
    raise BadInput(
        Problem(
            f"{rows} can't be used, and bad_rows is stop. "
            f"Row {first.row:,} of {first.dataset}: {first.reason.rstrip('.')}.",
            f"dataset {first.dataset}, row {first.row:,}",
            "Mend them (finetui datasets check lists them), or set bad_rows: skip.",
            "bad_rows",
        )
    )


def _dropped_notes(dropped: Sequence[RowProblem]) -> list[str]:
    """One line a set: how many rows were left out, and why the first."""
    notes = []
    for name, count in Counter(problem.dataset for problem in dropped).items():
        first = next(problem for problem in dropped if problem.dataset == name)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        notes.append(f"{name}: {rows} left out; row {first.row:,}: {first.reason}.")
    return notes


def _cut_notes(rows: TokenRows | PartRows, encoder: Encoder) -> list[str]:
    if not rows.cut_rows:
        return []
    return [
        f"{rows.cut_rows:,} of {len(rows):,} rows were cut at {encoder.cutoff:,} tokens, "
        f"{rows.cut_tokens:,} tokens lost."
    ]
