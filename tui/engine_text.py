"""The engine's sentences in the screen's language.

On an English screen nothing is loaded or matched; on another the catalogue is read, and what
matches a text against it (`tui.sentences`), at the first sentence that the engine says.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tui.language import language

if TYPE_CHECKING:
    from tui.sentences import Sentences

DOMAIN = "engine"

_LOCALES = Path(__file__).resolve().parent / "locales"


def engine_text(text: str) -> str:
    """What the engine said, in the language of the screen."""
    name = language()
    if name == "en" or not text or text.isspace():
        return text
    sentences = _sentences(name)
    return sentences.translated(text) if sentences is not None else text


@lru_cache(maxsize=2)
def _sentences(name: str) -> Sentences | None:
    from tui.sentences import Sentences, read_messages

    try:
        messages = read_messages(_LOCALES / name / "LC_MESSAGES" / f"{DOMAIN}.mo")
    except OSError:
        return None
    return Sentences(messages)
