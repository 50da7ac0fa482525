"""Rows for the stages beyond SFT: a prompt and its answers as tokens of their own.

The template and the tokens are the `Encoder`'s, so that a prompt here is token for token the one
that SFT trains on and chat asks with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.datasets.chat_format import RENDER_ERRORS
from engine.datasets.cutoff import share
from engine.datasets.encode import Answered, Encoder
from engine.datasets.example import Example, RowProblem
from engine.datasets.formats.fields import RowFault
from engine.datasets.media_rows import kept_around
from engine.datasets.medium import Medium
from engine.datasets.stage_rows import EncodedParts, RowForm


def encode_parts(
    encoder: Encoder, examples: Sequence[Example], form: RowForm
) -> list[EncodedParts | RowProblem]:
    """Rows of a form, in order; a row that can't be used comes back as a RowProblem."""
    encode = {"pairs": _pair, "feedback": _feedback, "prompts": _prompt}[form]
    found: list[EncodedParts | RowProblem] = []
    for example in examples:
        try:
            found.append(encode(encoder, example))
        except RowFault as fault:
            found.append(RowProblem("", example.source_row, str(fault)))
    return found


def as_text(encoder: Encoder, example: Example) -> Example:
    """A conversation as the plain text that its template makes of it, for pre-training.

    The opening and closing tokens that plain text is given anyway are taken off its ends.
    """
    if example.kind == "text":
        return example
    text = encoder.whole_text(example)
    tokenizer = encoder.tokenizer
    if tokenizer.bos_token and tokenizer.adds_bos:
        text = text.removeprefix(tokenizer.bos_token)
    if tokenizer.eos_token and text.rstrip().endswith(tokenizer.eos_token):
        text = text.rstrip().removesuffix(tokenizer.eos_token)
    return Example("text", example.source_row, text=text)


def _pair(encoder: Encoder, example: Example) -> EncodedParts:
    """Prompt, better answer, worse answer; the cutoff is shared as with the longer one alone."""
    if example.chosen is None or example.rejected is None:
        raise RowFault("it has no pair of answers")
    better = encoder.answered(example)
    worse = encoder.answered(replace(example, chosen=example.rejected))
    # Where answer and prompt share a token at their border, the prompt ends before it.
    common = _common(better, worse)
    prompt = better.ids[:common]
    chosen = better.ids[common : better.stop]
    rejected = worse.ids[common : worse.stop]
    if chosen == rejected:
        raise RowFault("its better and its worse answer are the same")
    whole = len(prompt) * 2 + len(chosen) + len(rejected)
    longest = max(len(chosen), len(rejected))
    if better.inside is None:
        prompt, room = _cut(encoder, prompt, longest, better.header)
    else:
        prompt, room = _cut_around(
            encoder, example.media, prompt, better.inside[:common], longest, better.header
        )
    chosen, rejected = chosen[:room], rejected[:room]
    if not chosen or not rejected or chosen == rejected:
        raise RowFault("nothing that tells its answers apart is left after the cutoff")
    cut = whole - len(prompt) * 2 - len(chosen) - len(rejected)
    return EncodedParts((prompt, chosen, rejected), cut=cut, media=example.media)


def _cut_around(
    encoder: Encoder,
    media: Sequence[Medium],
    prompt: list[int],
    inside: list[bool],
    answer: int,
    header: int,
) -> tuple[list[int], int]:
    """As `_cut`, but media's tokens stay. Raises RowFault where they leave no room."""
    if encoder.cutoff is None or len(prompt) + answer <= encoder.cutoff:
        return prompt, answer
    whole = [(len(prompt), len(prompt) + answer)]
    marks = [*inside, *([False] * answer)]
    stays = kept_around(media, marks, whole, encoder.cutoff, lambda _: header)
    kept = [token for token, mark in zip(prompt, stays, strict=False) if mark]
    return kept, sum(stays[len(prompt) :])


def _feedback(encoder: Encoder, example: Example) -> EncodedParts:
    """Prompt, answer, and whether people liked it."""
    if example.label is None:
        raise RowFault("it has no label")
    row = encoder.answered(example)
    prompt, answer = row.ids[: row.start], row.ids[row.start : row.stop]
    whole = len(prompt) + len(answer)
    prompt, room = _cut(encoder, prompt, len(answer), row.header)
    answer = answer[:room]
    if not answer:
        raise RowFault("nothing of its answer is left after the cutoff")
    return EncodedParts((prompt, answer), (example.label,), whole - len(prompt) - len(answer))


def _prompt(encoder: Encoder, example: Example) -> EncodedParts:
    """The prompt up to the last answer, as tokens and as text, and that answer for reference."""
    try:
        text, answer = encoder.asked(example)
    except RENDER_ERRORS as error:
        raise RowFault(f"the template refuses it: {error}") from None
    ids = encoder.tokenizer.encode(text)
    if not ids:
        raise RowFault("its prompt is empty")
    room = len(ids) if encoder.cutoff is None else encoder.cutoff
    if len(ids) <= room:
        return EncodedParts((ids,), (text, answer))
    # The end of a prompt asks for the answer: its middle goes, as everywhere.
    tail = min(encoder.opening_tokens, room - 1)
    kept = [*ids[: room - tail], *ids[len(ids) - tail :]]
    return EncodedParts((kept,), (encoder.tokenizer.decode(kept), answer), len(ids) - len(kept))


def _common(better: Answered, worse: Answered) -> int:
    """Tokens that open both rows, up to the earlier begin of an answer."""
    most = min(better.start, worse.start)
    same = (place for place in range(most) if better.ids[place] != worse.ids[place])
    return next(same, most)


def _cut(encoder: Encoder, prompt: list[int], answer: int, header: int) -> tuple[list[int], int]:
    """The prompt as it stays beside an answer of `answer` tokens, and the room of the answer."""
    if encoder.cutoff is None or len(prompt) + answer <= encoder.cutoff:
        return prompt, answer
    kept, room = share(len(prompt), answer, encoder.cutoff)
    tail = min(header, kept) if kept < len(prompt) else 0
    return [*prompt[: kept - tail], *prompt[len(prompt) - tail :]], room
