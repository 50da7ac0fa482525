"""What is said of rows while they are prepared: what was left out, cut, or can't be used at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.config.media import PICTURE_STAGES
from engine.datasets.example import Example, RowProblem
from engine.datasets.media_rows import reads_only
from engine.datasets.medium import Kind, kinds_of, words
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder
    from engine.datasets.stage_rows import PartRows, TokenRows

PLACEHOLDERS = "{{name}} or {{author}}"
_READING: dict[Kind, str] = {
    "image": "Qwen2-VL, LLaVA, Gemma 3, SmolVLM",
    "video": "Qwen2-VL, Qwen2.5-VL",
    "audio": "Qwen2-Audio",
}
NOTHING_TRAINED = "nothing of its answer is left after the cutoff"


def nothing_left(names: Sequence[str], dropped: Sequence[RowProblem]) -> BadInput:
    if not dropped:
        return BadInput(
            Problem(f"{', '.join(names)} holds no rows.", "dataset", "Choose another.", "dataset")
        )
    first = dropped[0]
    cut = first.reason.endswith("left after the cutoff")
    return BadInput(
        Problem(
            f"None of the {len(dropped):,} rows of {', '.join(names)} can be used. "
            f"Row {first.row:,}: {first.reason}.",
            f"dataset {first.dataset}, row {first.row:,}",
            "Raise cutoff_len."
            if cut
            else "Check columns and tags in dataset_info.json against the file.",
            "cutoff_len" if cut else "dataset",
        )
    )


def stop_at_bad(config: RunConfig, dropped: Sequence[RowProblem]) -> None:
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


def dropped_notes(dropped: Sequence[RowProblem]) -> list[str]:
    """One line a set: how many rows were left out, and why the first."""
    notes = []
    for name, count in Counter(problem.dataset for problem in dropped).items():
        first = next(problem for problem in dropped if problem.dataset == name)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        notes.append(f"{name}: {rows} left out; row {first.row:,}: {first.reason}.")
    return notes


def cut_notes(rows: TokenRows | PartRows, encoder: Encoder) -> list[str]:
    if not rows.cut_rows:
        return []
    return [
        f"{rows.cut_rows:,} of {len(rows):,} rows were cut at {encoder.cutoff:,} tokens, "
        f"{rows.cut_tokens:,} tokens lost."
    ]


def check_reads(encoder: Encoder, stage: str, examples: Sequence[tuple[str, Example]]) -> None:
    """Raise BadInput where rows have media of a kind that the model doesn't read (rule 49)."""
    for name, kinds in {(name, kinds_of(example.media)) for name, example in examples}:
        if kinds:
            _check_kinds(encoder, stage, name, kinds)


def _check_kinds(encoder: Encoder, stage: str, name: str, kinds: Sequence[Kind]) -> None:
    if stage not in PICTURE_STAGES:
        raise BadInput(
            Problem(
                f"{name} holds {words(kinds)}, and {stage} trains on text.",
                f"dataset {name}",
                "Choose stage: sft or dpo, or a set of text.",
                "dataset",
            )
        )
    read = tuple(encoder.media.placeholders) if encoder.media is not None else ()
    missing = [kind for kind in kinds if kind not in read]
    if missing:
        raise BadInput(
            Problem(
                f"{name} holds {words(missing)}, and {encoder.tokenizer.folder.name} reads only "
                f"{reads_only(read)}.",
                f"dataset {name}",
                f"Choose a model that reads {words(missing)} ({_READING[missing[0]]}, …), or "
                "another set.",
                "model_name_or_path",
            )
        )
