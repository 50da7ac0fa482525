"""The state of the engine on the top line: one glyph and a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.engine_text import engine_text
from tui.language import _
from tui.panes.words import STATES
from tui.widgets.numbers import duration, size, thousands
from tui.widgets.top_line import Part, TopState, training_state

if TYPE_CHECKING:
    from tui.live import LiveRun
    from tui.studio import Studio


def top_state(studio: Studio, train_key: str) -> TopState:
    """What the top line says: the running job, else how the last one ended, else ready."""
    live = studio.current or studio.last
    if live is None or (live.ended and live.kind == "chat"):
        return TopState(
            "ready", (Part(_("ready"), 1), Part(f"{train_key} {_('starts training')}", 2, ""))
        )
    if live.state == "training":
        left = live.seconds_left()
        time_left = duration(left) if left is not None else ""
        return training_state(
            _("training"),
            f"{thousands(live.step)}/{thousands(live.total_steps)}",
            f"{live.percent} %",
            f"{time_left} {_('left')}" if time_left else "",
            time_left,
            f"{thousands(live.throughput)} tok/s" if live.throughput else "",
        )
    if live.state == "paused":
        steps = f"{thousands(live.step)}/{thousands(live.total_steps)}"
        return TopState("paused", (Part(_("paused"), 1), Part(steps, 2)))
    if live.ended:
        return _ended(live)
    return TopState("busy", tuple(_busy(live)))


def _busy(live: LiveRun) -> list[Part]:
    parts = [Part(_(STATES.get(live.state, live.state)), 1)]
    if live.activity:
        parts.append(Part(engine_text(live.activity), 3, ""))
    if live.activity_total:
        parts.append(Part(f"{live.percent} %", 2))
    elif live.activity_done and live.activity_unit == "bytes":
        parts.append(Part(size(live.activity_done), 2))
    return parts


def _ended(live: LiveRun) -> TopState:
    word = Part(_(STATES[live.state]), 1)
    if live.state == "done":
        return TopState("done", (word, Part(live.run, 2, "")))
    if live.state == "stopped":
        return TopState("stopped", (word, Part(engine_text(live.detail) or live.run, 2, "")))
    return TopState("failed", (word, Part(live.run, 2, "")))
