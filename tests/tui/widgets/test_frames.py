"""Lines and frames: drawn to the column, and only what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.geometry import Region

from tui.theme import load_theme, set_current_theme
from tui.widgets.ascii import set_ascii_only
from tui.widgets.chart import LossChart
from tui.widgets.frame import Drawn, Framed, Line, ends, fit_line, line_width
from tui.widgets.lines_panel import LinesPanel

Fixture = Callable[..., Any]


def test_a_line_is_made_to_fit() -> None:
    assert fit_line([("ab", "text")], 4) == (("ab", "text"), ("  ", "text"))
    assert fit_line([("a微", "text")], 2) == (("a", "text"), (" ", "text"))
    assert fit_line([("\x1b", "dim")], 2) == (("␛", "dim"), (" ", "text"))
    assert fit_line([], 0) == ()
    assert line_width(ends([("left", "text")], [("1", "dim")], 10)) == 10
    assert (
        "".join(t for t, _ in ends([("leftleft", "text")], [("right", "dim")], 10)) == "lef… right"
    )


class Two(Framed):
    def content_line(self, y: int, width: int) -> Line:
        return [(f" line {y}", "text")]


@pytest.mark.parametrize("focus", [False, True])
async def test_a_frame(focus: bool, stage: Fixture, shown: Fixture, settle: Fixture) -> None:
    panel = Two("2 Data", "2 of 7")
    app = stage(panel, 32, 4)
    async with app.run_test(size=(40, 8)) as pilot:
        (panel if focus else app.query_one("#other")).focus()
        await settle(pilot)
        lines = panel.picture_lines()
        if focus:
            assert lines == [
                "┏━ 2 Data ━━━━━━━━━━━━ 2 of 7 ━┓",
                "┃ line 0                       ┃",
                "┃ line 1                       ┃",
                "┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛",
            ]
        else:
            assert lines[0] == "╭─ 2 Data ──────────── 2 of 7 ─╮"
            assert lines[3] == "╰──────────────────────────────╯"
            panel.active = True
            assert panel.picture_lines()[0].startswith("┏━ 2 Data ━")
        assert [line[:32] for line in shown(app)[:4]] == panel.picture_lines()


@pytest.mark.parametrize("width", range(1, 40))
def test_a_frame_of_any_width(width: int) -> None:
    panel = Two("数据 datasets", "12 of 700")
    for y in range(3):
        assert line_width(fit_line(panel.draw_line(y, width, 3), width)) == width
        if width >= 4:
            assert line_width(panel.draw_line(y, width, 3)) == width


def test_two_ends_never_take_more_than_their_line() -> None:
    line = ends([("left", "text")], [("about 123456789012 min", "dim")], 10)
    assert "".join(text for text, _ in line) == "about 123…"


async def test_a_title_refreshes_its_cells_and_nothing_else(
    stage: Fixture, refreshes: Fixture, settle: Fixture
) -> None:
    panel = Two("log", "48 lines")
    app = stage(panel, 30, 5)
    async with app.run_test(size=(40, 8)) as pilot:
        await settle(pilot)
        calls = refreshes(panel)
        panel.set_figure("48 lines")
        panel.set_title("log")
        panel.content_changed()
        assert calls == []
        panel.set_figure("49 lines")
        assert calls == [(Region(20, 0, 1, 1),)]


class Spans(Drawn):
    text = ""

    def draw_line(self, y: int, width: int, height: int) -> Line:
        return [(self.text, "text")] if y == 0 else ()


async def test_a_wide_character_is_refreshed_whole(
    stage: Fixture, shown: Fixture, refreshes: Fixture, settle: Fixture
) -> None:
    widget = Spans()
    widget.text = "ab微d"
    app = stage(widget, 10, 2)
    async with app.run_test(size=(20, 4)) as pilot:
        await settle(pilot)
        calls = refreshes(widget)
        widget.text = "abx d"
        widget.picture_changed()
        assert calls == [(Region(2, 0, 2, 1),)]
        await settle(pilot)
        assert shown(app)[0].startswith("abx d")


async def test_nothing_is_drawn_while_hidden(
    monkeypatch: pytest.MonkeyPatch, stage: Fixture, shown: Fixture, settle: Fixture
) -> None:
    widget = Spans()
    widget.text = "before"
    app = stage(widget, 10, 2)
    async with app.run_test(size=(20, 4)) as pilot:
        await settle(pilot)
        widget.display = False
        await settle(pilot)
        drawn: list[int] = []
        real = widget.draw_line
        monkeypatch.setattr(
            widget, "draw_line", lambda y, width, height: drawn.append(y) or real(y, width, height)
        )
        for number in range(5):
            widget.text = f"after {number}"
            widget.picture_changed()
            await settle(pilot)
        assert drawn == []
        widget.display = True
        await settle(pilot)
        assert shown(app)[0].startswith("after 4")


async def test_a_theme_repaints(stage: Fixture, settle: Fixture) -> None:
    set_current_theme(load_theme("dark")[0])
    widget = Spans()
    widget.text = "text"
    app = stage(widget, 10, 2)
    async with app.run_test(size=(20, 4)) as pilot:
        await settle(pilot)
        set_current_theme(load_theme("contrast")[0])
        await settle(pilot)
        segment = next(iter(app.screen._compositor.render_strips()[0]))
        assert segment.style is not None
        assert segment.style.color is not None
        assert segment.style.color.triplet == (255, 255, 255)


async def test_markup_stays_text_and_escapes_are_shown(stage: Fixture, settle: Fixture) -> None:
    panel = LinesPanel("[red]title[/red]", "[b]")
    app = stage(panel, 40, 4)
    async with app.run_test(size=(50, 8)) as pilot:
        panel.set_lines(["a row with [/b] in it", "and \x1b[2J and \u202e"])
        await settle(pilot)
        lines = panel.picture_lines()
        assert "[red]title[/red]" in lines[0]
        assert "[b]" in lines[0]
        assert lines[1] == f"│ {'a row with [/b] in it':<37}│"
        assert "␛[2J and ⟨U+202E⟩" in lines[2]


async def test_ascii(stage: Fixture, settle: Fixture) -> None:
    set_ascii_only(True)
    chart = LossChart()
    app = stage(chart, 50, 14)
    async with app.run_test(size=(60, 20)) as pilot:
        chart.set_points(list(range(40)), [3 - step / 20 for step in range(40)])
        await settle(pilot)
        lines = chart.picture_lines()
        assert all(line.isascii() for line in lines)
        assert [len(line) for line in lines] == [50] * 14
        assert any("." in line or "'" in line or ":" in line for line in lines[1:-1])
