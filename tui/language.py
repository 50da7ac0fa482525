"""The screen's language: gettext, following the locale, switchable while running."""

from __future__ import annotations

import gettext
import os
from collections.abc import Iterable
from pathlib import Path

DOMAIN = "finetui"
LANGUAGES = {"en": "English", "zh_CN": "简体中文"}

_locales = Path(__file__).resolve().parent / "locales"
_current: gettext.NullTranslations = gettext.NullTranslations()
_language = "en"


def _(text: str) -> str:
    """The text in the current language; English is the key and the fallback."""
    return _current.gettext(text) if text else ""


def named(head: str, rest: str) -> str:
    """`rows: 91`, with the colon of the current language."""
    return f"{head}：{rest}" if _language == "zh_CN" else f"{head}: {rest}"


def listed(parts: Iterable[str]) -> str:
    """`identity, tools`, with the comma that the current language has for lists."""
    return ("、" if _language == "zh_CN" else ", ").join(parts)


def clauses(*parts: str) -> str:
    """`fits, 1.2 of 24 GB`: parts of one statement, with the comma of the current language."""
    return ("，" if _language == "zh_CN" else ", ").join(parts)


def sentence(text: str) -> str:
    """A text that ends as a sentence does in the current language."""
    return text + ("。" if _language == "zh_CN" else ".")


def joined(sentences: Iterable[str]) -> str:
    """Sentences behind one another: with a blank between them, where the language has one."""
    return ("" if _language == "zh_CN" else " ").join(part for part in sentences if part)


def marked(text: str) -> str:
    """Mark a text for the catalogue where it is declared; it is translated where it is shown."""
    return text


def language() -> str:
    return _language


def from_locale() -> str:
    """The language that LC_ALL, LC_MESSAGES, LANG ask for, as far as there is a catalogue."""
    for variable in ("FINETUI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh_CN" if value.lower().startswith("zh") else "en"
    return "en"


def use(name: str) -> None:
    """Switch to `name` (a key of LANGUAGES); an unknown one is English."""
    global _current, _language
    _language = name if name in LANGUAGES else "en"
    if _language == "en":
        _current = gettext.NullTranslations()
    else:
        _current = gettext.translation(DOMAIN, _locales, [_language], fallback=True)
