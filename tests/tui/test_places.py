"""Where keys lead: views, rail panels, one level out, the next panel; on every size of screen."""

from __future__ import annotations

import pytest

NORMAL, NARROW, WIDE = (120, 40), (80, 24), (200, 50)
VIEW_KEYS = {"m": "train", "c": "chat", "e": "evaluate", "x": "export"}
PANEL_KEYS = {"1": "model", "2": "data", "3": "settings", "4": "runs"}


@pytest.mark.parametrize("size", [NORMAL, NARROW, WIDE])
async def test_each_key_opens_its_view_and_escape_leads_back(open_screen, size) -> None:
    async with open_screen(size) as shown:
        for key, name in VIEW_KEYS.items():
            await shown.press(key)
            assert shown.places == [name]
            if name == "chat":
                await shown.press("escape")  # out of the line that is typed
                assert shown.places == ["chat"]
            await shown.press("escape")
            assert shown.places == ["train"]


@pytest.mark.parametrize("size", [NORMAL, WIDE])
async def test_a_rail_panel_brings_up_its_detail_and_enter_steps_in(open_screen, size) -> None:
    async with open_screen(size) as shown:
        for key, name in PANEL_KEYS.items():
            await shown.press(key)
            panel = shown.app.rail.panels[name]
            assert shown.app.focused is panel
            assert shown.places == [name]
            # Enter takes a model; the arrow reads its card.
            await shown.press("right" if name == "model" else "enter")
            stepped = shown.app.focused is shown.app.views[name].entry()
            assert stepped == (name != "runs")  # no run yet: nothing to step into
            await shown.press("escape")
            if stepped:
                assert shown.app.focused is panel
                await shown.press("escape")
            assert shown.places == ["train"]


async def test_narrow_shows_the_list_and_enter_its_detail(open_screen) -> None:
    async with open_screen(NARROW) as shown:
        for key, name in PANEL_KEYS.items():
            await shown.press(key)
            assert shown.places == []
            assert shown.app.rail.display and shown.app.rail.single == name
            assert f"▐{key} " in shown.lines[1]
            if name != "runs":
                await shown.press("right")
                assert shown.places == [name]
                assert not shown.app.rail.display
                assert f"▐{key} " in shown.lines[1]
                await shown.press("escape")
                assert shown.app.rail.display
            await shown.press("escape")
            assert shown.places == ["train"]
            assert "▐Train▌" in shown.lines[1]


async def test_tab_walks_every_panel_and_back(open_screen) -> None:
    async with open_screen() as shown:
        seen = []
        for _turn in range(5):
            await shown.press("tab")
            seen.append(shown.app._focused_panel())
        # From the monitor's first panel to its log, then round by the rail.
        assert seen == [None, "model", "data", "settings", "runs"]
        await shown.press("shift+tab")
        assert shown.app._focused_panel() == "settings"


async def test_tab_walks_the_tabs_of_a_narrow_screen(open_screen) -> None:
    async with open_screen(NARROW) as shown:
        seen = []
        for _turn in range(10):
            await shown.press("tab")
            name = shown.app._focused_panel() or shown.app.view_name
            if not seen or seen[-1] != name:
                seen.append(name)
        start = ["train", "chat", "evaluate", "export", "model", "data", "settings", "runs"]
        assert seen[: len(start)] == start
        await shown.press("m", "shift+tab")
        assert shown.app._focused_panel() == "runs"


async def test_two_quick_keys_never_leave_two_views(open_screen) -> None:
    async with open_screen() as shown:
        seen: list[list[str]] = []
        real = shown.app.show

        def show() -> None:
            seen.append(shown.places)
            real()

        shown.app.show = show  # type: ignore[method-assign]
        await shown.pilot.press("c", "escape", "e", "x", "3", "c")
        await shown.settle()
        assert shown.places == ["chat"]
        assert all(len(places) <= 1 for places in seen)


async def test_a_screen_that_is_resized_keeps_its_place(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("3", "enter")
        await shown.pilot.resize_terminal(*NARROW)
        await shown.settle()
        assert shown.places == ["settings"] and not shown.app.rail.display
        await shown.pilot.resize_terminal(*WIDE)
        await shown.settle()
        assert shown.places == ["settings"] and shown.app.rail.display
        assert all(panel.display for panel in shown.app.rail.panels.values())
        assert shown.app.rail.size.width == 40


async def test_the_bottom_line_tells_the_keys_of_what_is_focused(open_screen) -> None:
    async with open_screen() as shown:
        assert shown.key_line.startswith(" t train")
        await shown.press("2")
        assert "space use this set" in shown.key_line and "Esc back" in shown.key_line
        await shown.press("3")
        assert "Enter edit" in shown.key_line
        await shown.press("c")
        assert shown.key_line.startswith(" Enter send  Esc leave the line")
        await shown.press("escape")
        assert "i write" in shown.key_line
        await shown.press("4")
        assert shown.key_line.count("c chat") == 1
        for size in (NARROW, (100, 30), (30, 10)):
            await shown.pilot.resize_terminal(*size)
            await shown.settle()
            assert len(shown.lines) == size[1]


@pytest.mark.parametrize("size", [(20, 6), (40, 12), (100, 30), (99, 60), (160, 40), (240, 70)])
async def test_no_size_breaks_a_view(open_screen, size) -> None:
    async with open_screen(size) as shown:
        for key in ("m", "c", "escape", "e", "x", "1", "2", "enter", "3", "enter", "4"):
            await shown.press(key)
            assert len(shown.lines) == size[1]
        assert not shown.app._told
        assert shown.dialogs == 0


async def test_mouse_reaches_panels_tabs_and_the_bottom_line(open_screen) -> None:
    async with open_screen() as shown:
        await shown.pilot.click("#rail-data")
        await shown.settle()
        assert shown.places == ["data"]
        await shown.press("m")
        await shown.pilot.click("#keys", offset=(shown.key_line.index("c chat"), 0))
        await shown.settle()
        assert shown.places == ["chat"]
    async with open_screen(NARROW) as shown:
        await shown.pilot.click("#tabs", offset=(shown.lines[1].index("Export"), 0))
        await shown.settle()
        assert shown.places == ["export"]
        await shown.pilot.click("#tabs", offset=(shown.lines[1].index("2 Data"), 0))
        await shown.settle()
        assert shown.app.focused is shown.app.rail.data
