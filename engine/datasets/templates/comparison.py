"""A named template beside a model: where its tokenizer and its own template say otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2

from engine.datasets.template import render

_MARKER = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,24}\]")
_ANSWER = "AnSwErPrObE"
_TALK: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": _ANSWER},
    {"role": "user", "content": "v"},
)
_FAULTS = (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError)


def same_text(own: str, named: str, special: Mapping[str, str]) -> bool:
    """Whether two chat templates write a conversation alike, with a system text and without."""
    system = {"role": "system", "content": "s"}
    for talk in (_TALK, (system, *_TALK)):
        texts = [_rendered(source, talk, special) for source in (own, named)]
        if texts[0] is None or texts[0] != texts[1]:
            return False
    return True


def markers_of(source: str, special: Mapping[str, str]) -> tuple[str, ...]:
    """The marks that a template writes around what is said, in order of appearance."""
    text = _rendered(source, ({"role": "system", "content": "s"}, *_TALK), special)
    text = text or _rendered(source, _TALK, special) or ""
    return tuple(dict.fromkeys(_MARKER.findall(text)))


def answer_end(source: str, special: Mapping[str, str]) -> str | None:
    """The mark that closes an answer, None where there is none."""
    text = _rendered(source, _TALK[:2], special, opened=False)
    found = _MARKER.search(text.partition(_ANSWER)[2]) if text else None
    return found[0] if found else None


def disagreements(
    name: str,
    source: str,
    own: str | None,
    special: Mapping[str, str],
    token_id: Callable[[str], int | None],
) -> list[str]:
    """What a person should know of template `name` for this model, a sentence each.

    `own` is the model's chat template, None for a model without; `token_id` tells the id of a text
    that is one token of the vocabulary.
    """
    found = []
    if own is None:
        found.append(
            f"The model has no chat template of its own: it looks like a base model, to which "
            f"template {name} is new."
        )
    else:
        found.append(
            f"Template {name} writes another text than the model's own chat template: a chat model "
            "answers best in its own."
        )
    lacking = [mark for mark in markers_of(source, special) if token_id(mark) is None]
    if lacking:
        shown = ", ".join(lacking[:4]) + (" …" if len(lacking) > 4 else "")
        found.append(
            f"The model's vocabulary lacks {shown}, which template {name} writes: each is cut into "
            "ordinary pieces; add_special_tokens with resize_vocab makes them tokens."
        )
    end = answer_end(source, special)
    mine = answer_end(own, special) if own is not None else special.get("eos_token")
    if end and mine and end != mine:
        found.append(
            f"Template {name} ends an answer with {end}, the model's own end is {mine}: it stops "
            "where it should only once it has learned that."
        )
    return found


def _rendered(
    source: str, talk: Sequence[Mapping[str, Any]], special: Mapping[str, str], opened: bool = True
) -> str | None:
    try:
        return render(source, talk, special, None, opened)
    except _FAULTS:
        return None
