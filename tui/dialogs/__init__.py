"""What opens over the screen: a question, a line to type, a list to pick from, a card to read."""

from __future__ import annotations

from tui.dialogs.card import Card
from tui.dialogs.line import AskLine
from tui.dialogs.pick import Pick
from tui.dialogs.question import Answer, Question

__all__ = ["Answer", "AskLine", "Card", "Pick", "Question"]
