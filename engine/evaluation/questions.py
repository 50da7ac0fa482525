"""Rows turned into prompts to answer, each with the reference beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import RowFault
from engine.datasets.media_rows import check_placeholders
from engine.datasets.medium import Medium
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Encoder

Progress = Callable[[str, float, float, str], None]
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Question:
    """One row to answer. `prompt` is the text up to its last answer (earlier turns, tools and the
    system text included), `ids` its tokens, `label` that answer, `asked` the last turn alone,
    `media` those of the prompt."""

    dataset: str
    row: int
    prompt: str
    ids: list[int]
    label: str
    asked: str
    media: tuple[Medium, ...] = ()


def questions(
    config: RunConfig,
    encoder: Encoder,
    context: int | None,
    progress: Progress,
    check_stop: Callable[[], object],
) -> tuple[list[Question], list[str]]:
    """The rows of `eval_dataset` (or of the held-out part of `dataset`) as questions, and notes.

    Rows that have no answer, that the template refuses, or whose prompt fills the model's
    context are left out, and counted in a note. The cutoff is for training and is not applied.
    Raises BadInput where no row is left.
    """
    from engine.datasets.preparation import select, split

    def check() -> None:
        check_stop()

    names = config.eval_datasets or config.datasets
    chosen = select(config, names, None, progress, check)
    examples = chosen.examples
    if not config.eval_datasets:
        _, held_out = split(len(examples), config.val_size, config.seed)
        examples = [examples[i] for i in held_out]
    found: list[Question] = []
    refused = [str(problem) for problem in chosen.dropped]
    for number, (name, example) in enumerate(examples):
        if number % _BLOCK == 0:
            check()
            progress("reading questions", number, len(examples), "rows")
        try:
            question = _question(name, example, encoder)
        except BadInput as error:
            refused.append(f"{name}, row {example.source_row:,}: {error.problem.what}")
            continue
        if context is not None and len(question.ids) >= context:
            refused.append(
                f"{name}, row {question.row:,}: its prompt has {len(question.ids):,} tokens, the "
                f"model can read {context:,}"
            )
            continue
        found.append(question)
    if not found:
        raise BadInput(
            Problem(
                f"None of the {len(refused):,} rows can be answered. {refused[0]}"
                if refused
                else f"{', '.join(names)} holds no rows.",
                "eval_dataset",
                "Choose a set of conversations.",
                "eval_dataset",
            )
        )
    notes = [*encoder.notes, *chosen.notes]
    if refused:
        rows = "1 row" if len(refused) == 1 else f"{len(refused):,} rows"
        notes.append(f"{rows} left out; {refused[0].rstrip('.')}.")
    return found, notes


def _question(name: str, example: Example, encoder: Encoder) -> Question:
    prompt, label = encoder.prompt_and_answer(example)
    messages = (*example.messages, example.chosen) if example.chosen else example.messages
    last = max(i for i, message in enumerate(messages) if message.role == "assistant")
    if messages[last].tool_calls:
        label = _as_written(prompt, replace(example, messages=messages[: last + 1]), encoder)
    asked = messages[last - 1].content if last else ""
    try:
        if example.media:
            check_placeholders(example)
        ids = encoder.prompt_ids(prompt, example.media)
    except RowFault as fault:
        raise BadInput(
            Problem(f"{fault}", f"row {example.source_row}", "Correct the row.", "eval_dataset")
        ) from None
    return Question(name, example.source_row, prompt, ids, label, asked, example.media)


def _as_written(prompt: str, example: Example, encoder: Encoder) -> str:
    """The answer as the template writes it: tool calls are text only there."""
    system = (Message("system", example.system),) if example.system else ()
    text = encoder.render_prompt([*system, *example.messages], False, example.tools)
    if not text.startswith(prompt):
        raise BadInput(
            Problem(
                "The template rewrites what comes before the answer.",
                f"row {example.source_row}",
                "Choose a model whose template fits.",
                "eval_dataset",
            )
        )
    ids = encoder.tokenizer.encode(text[len(prompt) :])
    return encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()
