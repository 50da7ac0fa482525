"""A question with a few answers, each on a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.dialogs.card import Card
from tui.language import _
from tui.widgets.frame import Line


@dataclass(frozen=True)
class Answer:
    """One way to answer: the key, and what it does in a few words."""

    key: str
    text: str


class Question(Card):
    """Asks once. The result is the key of the answer; Esc, an empty text, means nothing changes.

    `about` is the run that the question is about: once that ends, nothing is left to ask.
    """

    typed_ahead = False  # nobody answers what they have not read

    def __init__(
        self,
        title: str,
        lines: Sequence[Line | str],
        answers: Sequence[Answer],
        *,
        role: str = "accent",
        escape: str = "",
        about: str = "",
    ) -> None:
        self.about = about
        keys = {answer.key: answer.text for answer in answers}
        # Beside an answer that ends something, "close" could be taken for it.
        super().__init__(title, lines, keys, role=role, escape=escape or _("back"))
