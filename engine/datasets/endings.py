"""How answers end: the tokens that close one, and templates that close only the last."""

from __future__ import annotations

from engine.datasets.answers import rendered_answers
from engine.datasets.chat_format import ChatFormat
from engine.datasets.formats.fields import RowFault
from engine.datasets.tokenizer import FastTokenizer
from engine.problem import BadInput, Problem


def end_ids(tokenizer: FastTokenizer, chat: ChatFormat) -> tuple[int, ...]:
    """The tokenizer's end ids, and the token with which the template closes an answer."""
    found = list(tokenizer.eos_ids)
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    try:
        text, spans = rendered_answers(chat, turns, None)
    except RowFault:
        return tuple(found)
    for token in tokenizer.encode(text[spans[0].start : spans[0].end]):
        special = tokenizer.backend.id_to_token(token) in tokenizer.special_texts
        if special and token != tokenizer.bos_id and token not in found:
            found.append(token)
    return tuple(found)


def prompt_untrained(name: str) -> BadInput:
    """Rule 48: where no answer but the last is closed, a prompt would be learned as its ending."""
    return BadInput(
        Problem(
            f"train_on_prompt can't be used with template {name}: it closes only the last answer "
            "of a row, so that the model would learn to go on with the next question.",
            "train_on_prompt",
            "Switch train_on_prompt off, or leave template out.",
            "train_on_prompt",
        )
    )
