"""A panel of given lines: scrolled, and broken to its width where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.widgets.lines_panel import LinesPanel

Fixture = Callable[..., Any]


async def test_the_bottom_edge_tells_that_there_is_more(
    stage: Fixture, shown: Fixture, settle: Fixture
) -> None:
    panel = LinesPanel("card")
    panel.set_lines(["one", "two"])
    app = stage(panel, 20, 5)
    async with app.run_test(size=(30, 8)) as pilot:
        await settle(pilot)
        assert shown(app)[4].strip()[1:-1].strip("─━") == ""
        panel.set_lines(str(number) for number in range(9))
        for by, sign in ((0, " ↓ "), (2, " ↑↓ "), (99, " ↑ ")):
            panel.action_scroll_lines(by)
            await settle(pilot)
            assert sign in shown(app)[4]


async def test_lines_given_before_the_width_is_known_are_broken_to_it(
    stage: Fixture, settle: Fixture
) -> None:
    panel = LinesPanel("words")
    panel.set_wrapped([[("one two three four five six seven", "text")], [("end", "dim")]])
    app = stage(panel, 40, 6)
    async with app.run_test(size=(50, 8)) as pilot:
        await settle(pilot)
        assert panel.picture_lines()[1] == f"│ {'one two three four five six seven':<37}│"
        panel.styles.width = 26
        await settle(pilot)
        inside = [line[1:-1].strip() for line in panel.picture_lines()[1:-1]]
        assert inside == ["one two three four", "five six seven", "end", ""]
        panel.set_lines(["other"])
        await settle(pilot)
        assert panel.picture_lines()[1] == f"│ {'other':<23}│"
