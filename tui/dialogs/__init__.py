"""What opens over the screen: a question, a line to type, a list to pick from, a card to read.

The first frame opens none of them: each is imported when it is first named (`dialogs.Card`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.dialogs.card import Card
    from tui.dialogs.line import AskLine
    from tui.dialogs.pick import Pick
    from tui.dialogs.question import Answer, Question

_HOMES = {
    "Answer": "question",
    "AskLine": "line",
    "Card": "card",
    "Pick": "pick",
    "Question": "question",
}

__all__ = ["Answer", "AskLine", "Card", "Pick", "Question"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
