"""The top line: what is loaded, and the state of the engine in one glyph and a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len

from tui.widgets.frame import Drawn, Line, Span, line_width
from tui.widgets.numbers import end_cut, middle_cut
from tui.widgets.text_safe import visible

State = Literal["ready", "busy", "training", "paused", "done", "stopped", "failed"]

GLYPHS: dict[State, tuple[str, str]] = {
    "ready": ("○", "text"),
    "busy": ("◌", "accent"),
    "training": ("●", "accent"),
    "paused": ("◌", "warning"),
    "done": ("✓", "ok"),
    "stopped": ("■", "warning"),
    "failed": ("✗", "error"),
}


@dataclass(frozen=True)
class Part:
    """A piece of the state's text. Where room is short the pieces with the highest `rank` are
    shortened first, then left out (an empty `short` leaves it out at once)."""

    text: str
    rank: int = 0
    short: str | None = None


@dataclass(frozen=True)
class TopState:
    """What the engine does."""

    state: State = "ready"
    parts: tuple[Part, ...] = field(default=())


def training_state(
    word: str, steps: str, share: str, left: str, left_short: str, speed: str
) -> TopState:
    """The state of a running training: `training  392/685  57 %  2m10s left  412 tok/s`; the word
    and the speed are the first to go."""
    return TopState(
        "training",
        (Part(word, 4, ""), Part(steps, 1), Part(share, 2), Part(left, 3, left_short),
         Part(speed, 5, "")),
    )  # fmt: skip


def state_text(parts: Sequence[Part], width: int, *, leave_out: bool = True) -> str:
    """The parts joined by two blanks, shortened by rank until they take no more than `width` cells.
    Where that is not enough, and with `leave_out`, they are left out by rank, and the last one cut
    off."""
    texts = [visible(part.text) for part in parts]

    def joined() -> str:
        return "  ".join(text for text in texts if text)

    order = sorted(range(len(parts)), key=lambda index: -parts[index].rank)
    for index in order:
        short = parts[index].short
        if cell_len(joined()) > width and short is not None:
            texts[index] = visible(short)
    if not leave_out:
        return joined()
    for index in order:
        if cell_len(joined()) > width and sum(1 for text in texts if text) > 1:
            texts[index] = ""
    return end_cut(joined(), width)


class TopLine(Drawn):
    """The first line of the screen. `set_loaded` says what is loaded, `set_state` what goes on."""

    DEFAULT_CSS = "TopLine { width: 1fr; height: 1; }"

    def __init__(
        self,
        program: str = "finetui",
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._program = program
        self._loaded: tuple[str, ...] = ()
        self._state = TopState()

    def set_loaded(self, *parts: str) -> None:
        """The model, and what will be done with it: `SmolLM2-135M-Instruct`, `sft`, `lora`."""
        new = tuple(visible(part) for part in parts if part)
        if new != self._loaded:
            self._loaded = new
            self.picture_changed()

    def set_state(self, state: TopState) -> None:
        """What the engine does."""
        if state != self._state:
            self._state = state
            self.picture_changed()

    def draw_line(self, y: int, width: int, height: int) -> Line:
        if y:
            return ()
        glyph, role = GLYPHS[self._state.state]
        name = f" {self._program}  "
        loaded = " · ".join(self._loaded)
        # First the state is shortened, then the model's name down to a dozen cells; only then does
        # the state lose whole pieces.
        rest = " · ".join(("", *self._loaded[1:])) if self._loaded else ""
        room = width - 3 - cell_len(name) - 2
        state = state_text(self._state.parts, room - cell_len(loaded), leave_out=False)
        if cell_len(state) > room - cell_len(loaded):
            least = min(cell_len(loaded), 12 + cell_len(rest))
            state = state_text(self._state.parts, max(8, room - least))
        right: list[Span] = [(f"{glyph} ", role), (state, "text"), (" ", "text")]
        left_room = width - line_width(right) - 2 - cell_len(name)
        if cell_len(loaded) > left_room and self._loaded:
            model = middle_cut(self._loaded[0], max(8, left_room - cell_len(rest)))
            loaded = end_cut(model + rest, max(0, left_room))
        left: list[Span] = [(name, "accent bold"), (loaded, "text")]
        gap = width - line_width(left) - line_width(right)
        if gap < 0:
            left, gap = [(" ", "text")], max(0, width - 1 - line_width(right))
        return [*left, (" " * gap, "text"), *right]
