"""The row browser: one row of a set as a conversation, as tokens, as raw fields."""

from __future__ import annotations

import json
import os
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from engine.problem import BadInput, FinetuiError, Problem
from tui.actions import bindings
from tui.engine_text import engine_text
from tui.language import _, listed, named, sentence
from tui.language import marked as _m
from tui.panes.row_pictures import PicturesOfRows
from tui.panes.row_places import RowPlaces
from tui.panes.row_source import source_lines
from tui.panes.row_views import VIEWS, first_view, media_told, row_lines, token_lines, with_media
from tui.panes.set_checks import SetChecks
from tui.panes.thought_views import thought_lines
from tui.shell import shell
from tui.terminal.colours import Depth, choose_depth
from tui.widgets.frame import Line, Span
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible, wrap_cells

if TYPE_CHECKING:
    from engine.datasets.media.preview import Preview
    from engine.worker.questions import DatasetEntry, RowView
    from engine.worker.row_pictures import RowPictures
    from engine.worker.thoughts import ThoughtView
    from tui.studio import Studio

THOUGHTS = "thoughts"
# Rows of the panel `source` with its frame; more where a fault or a reason takes more lines.
SOURCE_ROWS = 6
_PARTS = {"prompt": _m("prompt (dim)"), "trained": _m("trained (accent)"),
          "cut": _m("cut off (struck out)")}  # fmt: skip
_PLAIN_PARTS = {"prompt": _m("prompt"), "trained": _m("trained (in [ ])"),
                "cut": _m("cut off (in { })")}  # fmt: skip


class RowPanel(LinesPanel, inherit_bindings=False):
    """The row itself. Up and down are the view's: they go to other rows."""

    BINDINGS: ClassVar = [
        ("pageup", "scroll_pages(-1)", ""),
        ("pagedown", "scroll_pages(1)", ""),
    ]


class DataView(RowPlaces):
    """Rows of the highlighted set."""

    home = "data"
    scope = "rows"
    BINDINGS: ClassVar = bindings("rows")
    DEFAULT_CSS = """
    DataView RowPanel { height: 3fr; }
    DataView #aside { height: 2fr; }
    DataView #tokens { height: 1fr; }
    DataView #source { height: 6; max-height: 70%; }
    DataView.narrow #aside { display: none; }
    DataView.as-tokens #aside { height: auto; }
    DataView.as-tokens #tokens { display: none; }
    DataView.wide { layout: horizontal; }
    DataView.wide RowPanel { width: 3fr; height: 1fr; }
    DataView.wide #aside { width: 2fr; height: 1fr; }
    DataView.wide #tokens { display: block; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-data")
        self.row_panel = RowPanel(_("Rows"))
        self.token_panel = LinesPanel(_("the same row as tokens"), id="tokens")
        self.source_panel = LinesPanel(_("source"), id="source")
        self.token_panel.can_focus = self.source_panel.can_focus = False
        self.mode = "conversation"
        self.thoughts: ThoughtView | None = None
        self.pictures = PicturesOfRows(studio, self._pictures_came)
        self.checks = SetChecks(studio, self._check_told)
        self._asked_thoughts: object = None
        self._verdict_told: object = None
        self._dataset = ""

    def compose(self) -> ComposeResult:
        yield self.row_panel
        with Vertical(id="aside"):
            yield self.token_panel
            yield self.source_panel

    def entry(self) -> Widget:
        return self.row_panel

    def fit(self, narrow: bool, wide: bool) -> None:
        self.set_class(narrow, "narrow")
        self.set_class(wide, "wide")

    def relabel(self) -> None:
        self.token_panel.set_title(_("the same row as tokens"))
        self.source_panel.set_title(_("source"))

    # Which row

    @property
    def entry_shown(self) -> DatasetEntry | None:
        row = shell(self).rail.data.cursor_row
        name = row.key if row is not None else ""
        return next((one for one in self.studio.datasets if one.name == name), None)

    def show(self) -> None:
        entry = self.entry_shown
        if entry is None:
            self.row_panel.set_title(_("Rows"))
            self.row_panel.set_figure("")
            self.row_panel.set_lines([[], *self._no_set()])
            self.token_panel.set_lines([])
            self.source_panel.set_lines([])
            return
        if entry.name != self._dataset:
            self._dataset = entry.name
            self.leave_set()
        self.follow()
        index = self.order.row_at(self.place)
        asked = (entry.name, index, self.studio.config, self.studio.demo_ready)
        if asked != self._asked:
            self._asked = asked
            self._ask(entry.name, index)
        if self.mode == THOUGHTS and asked != self._asked_thoughts:
            self._asked_thoughts = asked
            self._ask_thoughts(entry.name, index)
        row = self.row
        if row is not None and row.dataset == entry.name and row.share < 1:
            self.ask_state(entry.name)
        self._draw(entry)

    def _ask(self, name: str, index: int) -> None:
        from engine.worker.questions import row_view

        def answered(future: Future[RowView]) -> None:
            shell(self).call_from_thread_later(self._take, future)

        self.studio.ask(answered, row_view, name, index, self.studio.config, key="row")

    def _take(self, future: Future[RowView]) -> None:
        try:
            self.row = future.result()
            self._fault = None
        except CancelledError:
            return
        except (FinetuiError, OSError) as error:
            self.row = None
            self._fault = _problem_of(error)
        entry = self.entry_shown
        if entry is not None:
            self._draw(entry)

    def _previews(self, row: RowView) -> tuple[Preview, ...]:
        few = self._depth < Depth.PALETTE
        return self.pictures.of(row, self._width(), self.row_panel.content_height, few)

    @property
    def _depth(self) -> Depth:
        return choose_depth(os.environ, no_color=self.app.no_color)

    def _pictures_came(self, future: Future[RowPictures]) -> None:
        shell(self).call_from_thread_later(self._take_pictures, future)

    def _take_pictures(self, future: Future[RowPictures]) -> None:
        entry = self.entry_shown
        if self.pictures.take(future) and entry is not None:
            self._draw(entry)

    def _ask_thoughts(self, name: str, index: int) -> None:
        from engine.worker.thoughts import thought_view

        def answered(future: Future[ThoughtView]) -> None:
            shell(self).call_from_thread_later(self._take_view, future)

        self.thoughts = None
        self.studio.ask(answered, thought_view, name, index, self.studio.config, key=THOUGHTS)

    def _take_view(self, future: Future[ThoughtView]) -> None:
        try:
            self.thoughts = future.result()
        except CancelledError:
            return
        except (FinetuiError, OSError) as error:
            self._fault = _problem_of(error)
        entry = self.entry_shown
        if entry is not None:
            self._draw(entry)

    # Drawing

    def _draw(self, entry: DatasetEntry) -> None:
        # The tokens stand above: they are not told a second time below, where they are in the way.
        self.set_class(self.mode == "tokens", "as-tokens")
        row = self.row if self.row is not None and self.row.dataset == entry.name else None
        self._draw_source(entry)
        figure: list[Span] = []
        for number, mode in enumerate(VIEWS):
            figure += [(" · ", "dim")] if number else []
            word = first_view(row, self.studio.config.stage) if mode == VIEWS[0] else mode
            figure.append((_(word), "accent" if mode == self.mode else "dim"))
        if self.mode == THOUGHTS:
            figure += [(" · ", "dim"), (_("thoughts"), "accent")]
        self.row_panel.set_figure(figure)
        if row is None or self.not_reached(row):
            self.row_panel.set_title(entry.name)
            told = self.told_line(row.share if row is not None else 1.0)
            self.row_panel.set_lines([told, *self._no_row(row)])
            self.token_panel.set_lines([])
            return
        more = "+" if row.share < 1 else ""
        place = f"{_('row')} {thousands(row.index + 1)} {_('of')} {thousands(row.total)}{more}"
        self.row_panel.set_title(f"{entry.name}   {place}")
        self.row_panel.set_lines(self._row_lines(row))
        self.token_panel.set_lines(self._token_summary(row))

    def _no_set(self) -> list[Line]:
        row = shell(self).rail.data.cursor_row
        if row is None:
            return [[(_("No set is chosen on the left."), "dim")]]
        return [
            [(sentence(f"{_('This folder has no set')} {visible(row.key)}"), "error")],
            [(_("The run is to use it: space leaves it out."), "text")],
        ]

    def _no_row(self, row: RowView | None) -> list[Line]:
        """What stands where there is no row to show: why, and what to try."""
        said = [(_("The row is being read …"), "dim")]
        if row is not None:
            words = f"{_('Row')} {thousands(row.index + 1)}: {_('not indexed yet …')}"
            said = [(words, "dim")]
        elif self._fault is not None:
            fault = self._fault
            said = [(fault.what, "error"), (fault.where, "dim"), (fault.hint, "text")]
        return [
            [(line, role)]
            for words, role in said
            if words
            for line in wrap_cells(visible(engine_text(words)), self._width())
        ]

    def _width(self) -> int:
        return max(20, self.row_panel.content_width - 4)

    def _token_summary(self, row: RowView) -> list[Line]:
        """The tokens as far as the panel has room, their count always in view."""
        lines = self._token_lines(row, max(20, self.token_panel.content_width - 4))
        room = self.token_panel.content_height
        if row.pieces and len(lines) > room > 3:
            tail = lines[lines.index([]) :]
            # Where there is little room, tokens are worth more than a gap.
            tail = tail[1:] if room < len(tail) + 3 else tail
            lines = [*lines[: room - len(tail) - 1], [("…", "dim")], *tail]
        return lines

    def _row_lines(self, row: RowView) -> list[Line]:
        told = self.told_line(row.share)
        if self.order.sort and row.pieces:
            told = [*told, (f": {thousands(len(row.pieces))} {_('tokens')}", "dim")]
        if self.mode == "tokens":
            return [told, *self._token_lines(row, self._width())]
        if self.mode == "raw":
            return [told, *self._raw_lines(row)]
        if self.mode == THOUGHTS:
            return [told, *self._thought_lines()]
        if row.problem and row.example is None:
            faulty = wrap_cells(visible(engine_text(row.problem)), self._width())
            return [told, *([(part, "error")] for part in faulty), [], *self._raw_lines(row)]
        stage = self.studio.config.stage
        return [told, *row_lines(row.example, stage, self._width(), self._previews(row))]

    def _thought_lines(self) -> list[Line]:
        if self.thoughts is None:
            return [[(_("The row is being read …"), "dim")]]
        now, plain = self.studio.config.enable_thinking, self._depth == Depth.NONE
        return thought_lines(self.thoughts, now, self._width(), plain)

    def _raw_lines(self, row: RowView) -> list[Line]:
        lines: list[Line] = []
        for key, value in row.raw.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append([(visible(str(key)), "accent")])
            for part in wrap_cells(visible(text, keep_newlines=True), self._width() - 2):
                lines.append([("  " + part, "text")])
        told = media_told([piece.part for piece in row.pieces])
        return [*lines, [], [(named(_("tokens"), told), "dim")]] if told else lines

    def _token_lines(self, row: RowView, width: int) -> list[Line]:
        if not row.pieces:
            return [
                [(part, "dim")] for part in wrap_cells(visible(engine_text(row.problem)), width)
            ]
        pieces = with_media((piece.text, piece.part) for piece in row.pieces)
        plain = self._depth == Depth.NONE
        lines = token_lines(pieces, width, plain)
        parts: list[str] = [piece.part for piece in row.pieces]
        told = _PLAIN_PARTS if plain else _PARTS
        counts = (f"{thousands(parts.count(part))} {_(word)}" for part, word in told.items())
        seen = media_told(parts)
        words = named(
            f"{thousands(len(parts))} {_('tokens')}", listed((*counts, *([seen] if seen else ())))
        )
        return [*lines, [], *([(part, "text")] for part in wrap_cells(words, width))]

    def _draw_source(self, entry: DatasetEntry) -> None:
        width = max(20, self.source_panel.content_width - 2)
        checked = self.checks.lines(entry.name, width)
        row = self.row if self.row is not None and self.row.dataset == entry.name else None
        lines = source_lines(entry, row, checked, self.studio.misfit(entry), width)
        if lines:
            self.source_panel.set_lines(lines)
            self.source_panel.styles.height = max(SOURCE_ROWS, len(lines) + 2)

    def _check_told(self) -> None:
        shell(self).call_from_thread_later(self._take_check)

    def _take_check(self) -> None:
        entry = self.entry_shown
        lines = self.checks.lines(entry.name, 200) if entry is not None else []
        run = self.checks.run
        told = run is None or run is self._verdict_told
        verdict = run is not None and (run.state.found is not None or run.state.problem)
        if lines and verdict and not told and self.has_class("narrow"):
            # The panel that says it has no room there. Once a check: what comes later is in its
            # card.
            self._verdict_told = run
            words = " ".join(text for line in lines for text, _role in line)
            self.app.notify(f"{words} {shell(self).keys.sign('rows.check')} {_('shows more')}")
        self.show()

    def action_check_set(self) -> None:
        """Begin a check of the set; once there is a verdict, what it found."""
        entry = self.entry_shown
        if entry is None:
            return
        run = self.checks.of(entry.name)
        if run is None or run.state.problem:
            self.checks.begin(entry.name)
        elif run.state.found is not None:
            from tui.dialogs.check import CheckCard

            self.app.clear_notifications()  # the card says it too

            def chosen(row: int | None) -> None:
                if row is not None:
                    self._go_to_row(entry.name, row)

            self.app.push_screen(CheckCard(lambda: run.state), chosen)
        self.show()

    # Walking

    def action_scroll_lines(self, by: int) -> None:
        self.row_panel.action_scroll_lines(by)

    def action_next_row(self) -> None:
        self.go(self.place + 1)

    def action_previous_row(self) -> None:
        self.go(self.place - 1)

    def action_thoughts(self) -> None:
        self.mode = VIEWS[0] if self.mode == THOUGHTS else THOUGHTS
        self.row_panel.to_top()
        self.show()

    def action_take_thoughts(self) -> None:
        view = self.thoughts
        if self.mode != THOUGHTS or view is None or view.problem or view.advised is None:
            return
        if view.advised != self.studio.config.enable_thinking:
            self.studio.change("enable_thinking", view.advised)
            shell(self).action_form_changed()

    def action_next_view(self) -> None:
        known = VIEWS.index(self.mode) if self.mode in VIEWS else -1
        self.mode = VIEWS[(known + 1) % len(VIEWS)]
        self.row_panel.to_top()
        self.show()

    def action_edit_set(self) -> None:
        shell(self).action_edit_set()

    def action_toggle_set(self) -> None:
        entry = self.entry_shown
        if entry is not None:
            self.studio.toggle_dataset(entry.name)
            shell(self).action_form_changed()


def _problem_of(error: Exception) -> Problem:
    return error.problem if isinstance(error, BadInput) else Problem(str(error))
