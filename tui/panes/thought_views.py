"""Does your data hold thoughts? The answer of the rows, and one row trained either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.engine_text import engine_text
from tui.language import _, clauses, sentence
from tui.language import marked as _m
from tui.panes.row_views import SIDE_BY_SIDE, token_lines
from tui.widgets.frame import Line, line_width
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.datasets import TokenPiece
    from engine.worker.thoughts import ThoughtView

_VALUES = {True: _m("on"), False: _m("off"), None: _m("as the data is")}


def thought_lines(
    view: ThoughtView, now: bool | None, width: int, plain: bool = False
) -> list[Line]:  # fmt: skip
    """The question, its answer and the setting it leads to, then the row with thinking and
    without, side by side where there is room. `now` is `enable_thinking`."""
    lines: list[Line] = [[(_("Does your data hold thoughts?"), "accent")]]
    for words, role in ((_answer(view), "text"), (_advice(view, now), "dim")):
        lines += [[("  " + part, role)] for part in wrap_cells(words, width - 2)]
    lines.append([])
    if view.problem:
        return [
            *lines,
            *([(part, "dim")] for part in wrap_cells(visible(engine_text(view.problem)), width)),
        ]
    heads = (f"enable_thinking: {_('on')}", f"enable_thinking: {_('off')}")
    if width < SIDE_BY_SIDE:
        for head, pieces in zip(heads, (view.on, view.off), strict=True):
            lines += [[(head, "accent")], *_tokens(pieces, width, plain), []]
        return lines
    column = (width - 3) // 2
    left, right = (
        [[(head, "accent")], *_tokens(pieces, column, plain)]
        for head, pieces in zip(heads, (view.on, view.off), strict=True)
    )
    for place in range(max(len(left), len(right))):
        one = left[place] if place < len(left) else []
        two = right[place] if place < len(right) else []
        lines.append([*one, (" " * (column - line_width(one)), "text"), (" │ ", "dim"), *two])
    return lines


def _answer(view: ThoughtView) -> str:
    if not view.share:
        return sentence(f"{_('No: no answer does, of the first rows')} ({thousands(view.rows)})")
    percent = max(1, round(view.share * 100))
    return sentence(
        f"{_('Yes: of the answers in the first rows')} ({thousands(view.rows)}) {percent} %"
    )


def _advice(view: ThoughtView, now: bool | None) -> str:
    wanted = view.advised
    if view.problem:
        return ""
    if wanted is None:
        return _("The template in use has no thoughts: the setting Thinking changes nothing.")
    is_now = _(_VALUES[now])
    if wanted == now:
        return _("The setting Thinking fits: it is {value}.").format(value=is_now)
    told = _("Enter sets Thinking to {value}; now it is {now}.")
    return told.format(value=_(_VALUES[wanted]), now=is_now)


def _tokens(pieces: tuple[TokenPiece, ...], width: int, plain: bool) -> list[Line]:
    trained = sum(piece.part == "trained" for piece in pieces)
    whole = f"{thousands(len(pieces))} {_('tokens')}"
    told = clauses(whole, f"{thousands(trained)} {_('trained')}")
    shown = token_lines([(piece.text, piece.part) for piece in pieces], width, plain)
    return [*shown, [], [(told, "dim")]]
