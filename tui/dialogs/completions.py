"""The answers that a step sampled while rewards taught it: step by step, each with its rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from tui.dialogs.dialog import Dialog
from tui.language import _
from tui.widgets.frame import Line, Span
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import loss, thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.events import Completion, Completions

MOST_COLUMNS = 120


def no_completions() -> str:
    """What is said where there are none."""
    return _("No answers yet: the stages ppo, grpo and rloo sample some at every step.")


class CompletionsPanel(LinesPanel):
    """The answers of one step."""


class CompletionsCard(Dialog[None]):
    """Opens on the newest step. `steps` gives all that are known, oldest first; a run may add to
    them while the card is open."""

    DEFAULT_CSS = """
    CompletionsCard { align: center middle; background: transparent; }
    CompletionsCard > CompletionsPanel { width: 100%; height: 100%; max-width: 120; }
    """

    BINDINGS: ClassVar = [
        Binding("escape,a,q", "leave", "close", show=False),
        Binding("left,left_square_bracket", "step(-1)", "step before", show=False),
        Binding("right,right_square_bracket", "step(1)", "next step", show=False),
        Binding("home", "step(-1000000)", "first step", show=False),
        Binding("end", "step(1000000)", "newest step", show=False),
    ]

    def __init__(self, steps: Callable[[], Sequence[Completions]]) -> None:
        super().__init__()
        self._steps = steps
        self._step = steps()[-1].step

    def compose(self) -> ComposeResult:
        panel = CompletionsPanel("")
        panel.active = True
        yield panel

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """The step that is looked at."""
        known = self._steps()
        place = self._place(known)
        shown = known[place]
        panel = self.query_one(CompletionsPanel)
        panel.set_title(
            f"{_('Answers')}   {_('step')} {thousands(shown.step)}   "
            f"{thousands(place + 1)} {_('of')} {thousands(len(known))}"
        )
        given = [row.reward for row in shown.rows if row.reward is not None]
        mean = loss(sum(given) / len(given)) if given else "–"
        panel.set_figure([(f"{_('mean reward')} ", "dim"), (mean, "accent")])
        panel.set_lines(self._lines(shown, max(20, panel.content_width - 2)))

    def _place(self, known: Sequence[Completions]) -> int:
        """Where the step that is looked at stands; the nearest one where it is gone."""
        steps = [one.step for one in known]
        if self._step in steps:
            return steps.index(self._step)
        return min(range(len(steps)), key=lambda place: abs(steps[place] - self._step))

    def _lines(self, shown: Completions, width: int) -> list[Line]:
        lines: list[Line] = []
        keys = [("← →", _("step")), ("↑ ↓", _("scroll")), ("Esc", _("close"))]
        told = "   ".join(f"{key} {word}" for key, word in keys)
        before = ""
        for number, row in enumerate(shown.rows, 1):
            lines.append([])
            lines += _head(number, row, width)
            # The answers of a group share their prompt: it is read once.
            if row.prompt != before:
                lines += _block(_("prompt"), "user", row.prompt, width)
                before = row.prompt
            lines += _block(_("answer"), "assistant", row.text, width)
            if row.answer:
                lines += _block(_("reference"), "dim", row.answer, width)
        return [[(told, "dim")], *lines]

    def action_step(self, by: int) -> None:
        known = self._steps()
        place = max(0, min(self._place(known) + by, len(known) - 1))
        self._step = known[place].step
        self.draw()
        self.query_one(CompletionsPanel).to_top()

    def action_leave(self) -> None:
        self.dismiss(None)


def _head(number: int, row: Completion, width: int) -> list[Line]:
    """`1  reward 0.75   advantage +0.4`, and below it what each reward function gave."""
    first: list[Span] = [
        (f"{number}  ", "dim"), (f"{_('reward')} ", "dim"), (loss(row.reward), "accent bold")
    ]  # fmt: skip
    if row.advantage is not None:
        sign = "+" if row.advantage > 0 else ""
        first += [(f"   {_('advantage')} ", "dim"), (f"{sign}{loss(row.advantage)}", "text")]
    lines: list[Line] = [first]
    if row.rewards:
        shares = " · ".join(f"{name} {loss(value)}" for name, value in row.rewards.items())
        lines += [[("   " + part, "text")] for part in wrap_cells(visible(shares), width - 3)]
    return lines


def _block(head: str, role: str, text: str, width: int) -> list[Line]:
    lines: list[Line] = [[(f"   {head}", role)]]
    for part in wrap_cells(visible(text.strip("\n"), keep_newlines=True), width - 5):
        lines.append([("     " + part, "text")])
    return lines
