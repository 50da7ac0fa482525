"""Language and theme, switched while the screen is open."""

from __future__ import annotations

import pytest

from tui import language
from tui.remembered import recall
from tui.theme import current_theme


async def test_the_language_is_switched_everywhere_and_remembered(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("e", "x", "3", "enter", "m")
        english = shown.text
        await shown.press("f2", "down", "enter")
        assert language.language() == "zh_CN"
        chinese = shown.text
        assert chinese != english
        for word in ("Model", "Settings", "Press", "ready", "machine", "keys"):
            assert word not in chinese.replace("F5", ""), word
        for key in ("e", "x", "3", "2", "4", "1"):
            await shown.press(key)
            assert not shown.app._told
        assert recall()[0].language == "zh_CN"
        await shown.press("escape", "f2", "up", "enter")
        assert language.language() == "en"
        assert "1 Model" in shown.text


async def test_narrow_tabs_follow_the_language_and_fit(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        shown.app.use_language("zh_CN")
        await shown.settle()
        assert "Train" not in shown.lines[1]
        assert all(len(line) <= 80 for line in shown.lines)


@pytest.mark.parametrize("name", ["light", "contrast", "dark"])
async def test_a_theme_is_switched_and_remembered(open_screen, name: str) -> None:
    async with open_screen() as shown:
        await shown.press("f3")
        await shown.type(name)
        await shown.press("enter")
        assert current_theme().name == name
        assert shown.app.theme == f"finetui-{name}"
        assert recall()[0].theme == name


async def test_an_unknown_theme_is_told(open_screen) -> None:
    async with open_screen(theme="no such theme") as shown:
        assert "no such theme" in shown.text
        assert current_theme().name
