"""Lists: the drawn pictures, the keyboard, the mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from textual.geometry import Region

from tui.widgets.list_view import ListPanel, ListRow

Fixture = Callable[..., Any]

DATA = [
    ListRow("identity", "identity", ("91",), "✓"),
    ListRow("alpaca", "alpaca_en_demo", ("1,000",), "✓"),
    ListRow("dpo", "dpo_en_demo", ("300 pairs",)),
    ListRow("kto", "kto_en_demo", ("300",)),
    ListRow("c4", "c4_demo", ("300 texts",)),
]
RUNS = [
    ListRow("1", "sft-1124-1402", ("0.61", "now"), "●", "accent"),
    ListRow("2", "sft-1124-0910", ("0.83", "5h"), "✓"),
    ListRow("3", "dpo-1123-1800", ("0.41", "1d"), "■", "warning"),
    ListRow("4", "sft-1123-1744", ("–", "1d"), "✗", "error"),
]


@pytest.mark.parametrize(
    ("rows", "title", "figure", "first", "height"),
    [(DATA, "2 Data", "2 of 7", 6, 8), (RUNS, "4 Runs", "12", 28, 11)],
)
async def test_the_lists_of_the_picture(
    rows: list[ListRow],
    title: str,
    figure: str,
    first: int,
    height: int,
    stage: Fixture,
    picture: Fixture,
    settle: Fixture,
) -> None:
    target = [line[:32] for line in picture("Training, 120×40")[first : first + height]]
    panel = ListPanel(title, figure)
    app = stage(panel, 32, height)
    async with app.run_test(size=(60, 20)) as pilot:
        panel.set_rows(rows)
        app.query_one("#other").focus()
        await settle(pilot)
        assert panel.picture_lines() == target


async def test_a_list_from_the_keyboard(stage: Fixture, settle: Fixture) -> None:
    panel = ListPanel("2 Data")
    app = stage(panel, 32, 5)
    async with app.run_test(size=(60, 20)) as pilot:
        panel.set_rows(DATA)
        app.query_one("#other").focus()
        await settle(pilot)
        reversed_rows = [
            y for y in range(3) for _, role in panel.content_line(y, 30) if "reverse" in role
        ]
        assert reversed_rows == []
        panel.focus()
        await settle(pilot)
        assert any("reverse" in role for _, role in panel.content_line(0, 30))
        await pilot.press("down", "space", "end", "enter", "home", "pagedown", "up", "up", "up")
        await settle(pilot)
        assert app.heard == [
            ("Highlighted", "alpaca"),
            ("Toggled", "alpaca"),
            ("Highlighted", "c4"),
            ("Chosen", "c4"),
            ("Highlighted", "identity"),
            ("Highlighted", "dpo"),
            ("Highlighted", "alpaca"),
            ("Highlighted", "identity"),
        ]


async def test_a_list_scrolls_to_its_cursor_and_keeps_it(stage: Fixture, settle: Fixture) -> None:
    panel = ListPanel("2 Data")
    app = stage(panel, 32, 5)
    async with app.run_test(size=(60, 20)) as pilot:
        rows = [ListRow(str(number), f"row {number}") for number in range(100)]
        panel.set_rows(rows)
        panel.focus()
        await settle(pilot)
        await pilot.press("end")
        assert "row 99" in panel.picture_lines()[3]
        panel.set_rows(rows[50:])
        assert panel.cursor_row == rows[99]
        assert "row 99" in panel.picture_lines()[3]
        assert panel.select("60")
        assert panel.cursor_row == rows[60]
        assert not panel.select("3")
        panel.set_rows([])
        assert panel.cursor_row is None
        await pilot.press("down", "up", "enter", "space", "pageup")


async def test_a_list_with_the_mouse(stage: Fixture, settle: Fixture) -> None:
    panel = ListPanel("2 Data")
    app = stage(panel, 32, 8)
    async with app.run_test(size=(60, 20)) as pilot:
        panel.set_rows(DATA)
        await settle(pilot)
        await pilot.click(panel, offset=(5, 3))
        await pilot.click(panel, offset=(5, 3))
        await pilot.click(panel, offset=(5, 6))
        await settle(pilot)
        assert app.heard == [("Highlighted", "dpo"), ("Chosen", "dpo")]


async def test_empty_dim_and_foreign_rows(stage: Fixture, settle: Fixture) -> None:
    panel = ListPanel("Sets", empty="No data yet: press a to add a file.")
    app = stage(panel, 32, 6)
    async with app.run_test(size=(60, 20)) as pilot:
        await settle(pilot)
        assert "No data yet: press a" in panel.picture_lines()[1]
        panel.set_rows(
            [
                ListRow("a", "qlora", ("1",), dim=True, reason="needs: pip install bitsandbytes"),
                ListRow("b", "[red]微调[/red]\x1b and a very long name", ("1,000",)),
                ListRow("c", "plain", ("1,000,000",)),
            ]
        )
        await settle(pilot)
        lines = panel.picture_lines()
        assert "qlora  needs: pip install… │" in lines[1]
        assert "[red]微" in lines[2]
        assert "…" in lines[2]
        assert lines[2].endswith(" 1,000 │")
        assert [cell_len(line) for line in lines] == [32] * 6


async def test_unchanged_rows_refresh_nothing(
    stage: Fixture, refreshes: Fixture, settle: Fixture
) -> None:
    panel = ListPanel("2 Data")
    app = stage(panel, 32, 8)
    async with app.run_test(size=(60, 20)) as pilot:
        panel.set_rows(RUNS)
        await settle(pilot)
        calls = refreshes(panel)
        panel.set_rows(list(RUNS))
        assert calls == []
        panel.set_rows([ListRow("1", "sft-1124-1402", ("0.68", "now"), "●", "accent"), *RUNS[1:]])
        assert calls == [(Region(23, 1, 1, 1),)]
