"""Which chat template a run writes with: the model's own, a named one, or a plain format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from engine.config.chat_templates import meant
from engine.datasets.template import render
from engine.datasets.template_names import EMPTY, FAMILIES, PLAIN, family_of
from engine.datasets.templates import (
    NotHere,
    TemplateRecord,
    disagreements,
    find_template,
    named_templates,
    same_text,
)
from engine.datasets.tokenizer import FastTokenizer
from engine.problem import BadInput, Problem

_RENDER_ERRORS = (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError)
_TALK = ({"role": "user", "content": "u"}, {"role": "assistant", "content": "a"})
OWN = "the model's own"


@dataclass(frozen=True)
class ChosenTemplate:
    """The template in use. `tool_source` is the one for talk with tools, `origin` where the text
    comes from, in words; `record` is there for a template that was read out of a package."""

    source: str
    tool_source: str
    family: str
    origin: str
    record: TemplateRecord | None = None
    notes: tuple[str, ...] = ()


def choose_template(
    tokenizer: FastTokenizer, special: Mapping[str, str], name: str | None
) -> ChosenTemplate:
    """The template for the setting `template`: None is the model's own.

    A name whose text the model's own template gives is that one. Raises BadInput for an unknown
    name, for one whose text is not here, and for a template of the model's that doesn't work.
    """
    if name in ("default", "empty"):
        source = _opened(PLAIN if name == "default" else EMPTY, tokenizer)
        return ChosenTemplate(source, source, name, "finetui")
    own = tokenizer.chat_templates.get("default")
    if name is not None and name not in named_templates():
        raise _bad(
            f"The template {name!r} is not known.",
            f"{meant(name)}Leave template out to use the model's own.",
        )
    if own is None and name is None:
        note = (
            "The model has no chat template; rows are written as Human: … Assistant: … "
            "and each answer ends with the end-of-text token."
        )
        source = _opened(PLAIN, tokenizer)
        return ChosenTemplate(source, source, "plain", "finetui", None, (note,))
    shown = None if own is None else _shown(own, special, fails=name is None)
    if own is not None and (name is None or _writes(shown, name)):
        return _own(own, tokenizer, shown, name)
    assert name is not None
    try:
        found = find_template(name)
    except NotHere as reason:
        raise _not_here(name, own, shown, str(reason)) from None
    if own is not None and same_text(own, found.source, special):
        return _own(own, tokenizer, shown, name)
    notes = (
        f"Template {name} is written as {found.origin} has it.",
        *disagreements(name, found.source, own, special, tokenizer.backend.token_to_id),
    )
    family = family_of(_shown(found.source, special) or "") or "own"
    return ChosenTemplate(found.source, found.source, family, found.origin, found.record, notes)


def _own(own: str, tokenizer: FastTokenizer, shown: str | None, name: str | None) -> ChosenTemplate:
    notes = (f"Template {name}: the model's own chat template gives it.",) if name else ()
    return ChosenTemplate(
        own,
        tokenizer.chat_templates.get("tool_use", own),
        family_of(shown or "") or "own",
        OWN,
        None,
        notes,
    )


def _writes(shown: str | None, name: str) -> bool:
    """Whether the model's own text shows the marks of the named family."""
    family = named_templates()[name].family
    return bool(shown and family and all(mark in shown for mark in FAMILIES[family]))


def _shown(source: str, special: Mapping[str, str], fails: bool = False) -> str | None:
    """A question and an answer as `source` writes them; where it can't, None or BadInput."""
    try:
        return render(source, _TALK, special)
    except jinja2.TemplateSyntaxError as error:
        if not fails:
            return None
        raise BadInput(
            Problem(
                f"The model's chat template is not valid Jinja: {error.message}.",
                f"chat template, line {error.lineno}",
                "Correct chat_template.jinja in the model's folder, or fetch it again.",
                "model_name_or_path",
            )
        ) from None
    except _RENDER_ERRORS as error:
        in_parts = _in_parts(source, special)
        if in_parts is not None or not fails:
            return in_parts
        raise _bad(
            f"The model's chat template can't write a question and an answer: {error}.",
            "Use template: default, or correct chat_template.jinja in the model's folder.",
        ) from None


def _in_parts(source: str, special: Mapping[str, str]) -> str | None:
    """The same by a template of a model with pictures that takes text as parts only."""
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in _TALK]
    try:
        return render(source, parts, special)
    except _RENDER_ERRORS:
        return None


def _opened(source: str, tokenizer: FastTokenizer) -> str:
    """A plain format writes the beginning-of-text token where the model's texts have it."""
    return "{{ bos_token }}" + source if tokenizer.adds_bos and tokenizer.bos_token else source


def _not_here(name: str, own: str | None, shown: str | None, reason: str) -> BadInput:
    if own is None:
        return _bad(
            f"The model has no chat template of its own, and the text of {name!r} is not here: "
            f"{reason}.",
            "Leave template out, or write template: default, for the plain format.",
        )
    family = family_of(shown or "")
    looks = f"looks like {family}" if family else "is one of its own"
    return _bad(
        f"template is {name!r}, but the model's chat template {looks}, and the text of {name!r} "
        f"is not here: {reason}.",
        "Leave template out to use the model's own.",
    )


def _bad(what: str, hint: str) -> BadInput:
    return BadInput(Problem(what, "template", hint, "template"))
