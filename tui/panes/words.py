"""Small words that several panes share: a run's sign, a set's count, a job's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.language import _
from tui.language import marked as _m
from tui.widgets.frame import Line, ends
from tui.widgets.numbers import middle_cut, size, thousands
from tui.widgets.text_safe import visible

if TYPE_CHECKING:
    from engine.worker.downloads import Download
    from engine.worker.questions import DatasetEntry

_MARKS = {
    "running": ("●", "accent"),
    "done": ("✓", "ok"),
    "stopped": ("■", "warning"),
    "failed": ("✗", "error"),
    "interrupted": ("✗", "warning"),
}

# What a state is called on the top line.
STATES = {
    "queued": _m("waiting"),
    "loading": _m("loading"),
    "training": _m("training"),
    "evaluating": _m("evaluating"),
    "predicting": _m("answering rows"),
    "exporting": _m("exporting"),
    "answering": _m("answering"),
    "saving": _m("saving"),
    "paused": _m("paused"),
    "done": _m("done"),
    "stopped": _m("stopped"),
    "failed": _m("failed"),
    "running": _m("running"),
    "interrupted": _m("cut off"),
}


def state_mark(state: str) -> tuple[str, str]:
    """The sign of a run's state, and its colour role."""
    return _MARKS.get(state, ("○", "dim"))


def chart_words() -> tuple[str, str, str, str]:
    """The legend of a loss chart."""
    return _("loss"), _("smoothed"), _("original"), _("validation")


def download_line(download: Download, y: int, width: int) -> Line:
    """A download in the two lines below a model's name: how much, and which file."""
    if y == 1:
        share = f"{100 * download.done / download.total:.0f} % " if download.total else ""
        left = f" ↓ {size(download.done)} {_('of')} {size(download.total or None)}"
        return ends([(left, "accent")], [(share, "accent")], width)
    if y == 2 and download.count:
        place = f" {_('file')} {download.number}/{download.count} "
        file = middle_cut(visible(download.file), max(1, width - len(place) - 1))
        return [(place, "dim"), (file, "text")]
    return [(f" {_('waiting')}", "dim")] if y == 2 and download.state == "waiting" else ()


def row_count(entry: DatasetEntry) -> str:
    """`1,000`, `300 pairs`, `300 texts`; `?` where the file can't be read."""
    if entry.problem is not None:
        return "?"
    count = thousands(entry.rows)
    if entry.shape == "preference":
        return f"{count} {_('pairs')}"
    if entry.shape == "text":
        return f"{count} {_('texts')}"
    return count
