"""Keys that arrive together act as if each had waited for the one before."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from tui.dialogs import Pick


async def typed(shown) -> str:
    await shown.settle()
    return shown.app.screen.query_one(Input).value


async def test_letters_behind_a_dialogs_key_are_typed_into_it(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press_at_once(*":expo")
        assert await typed(shown) == "expo"
        await shown.press_at_once("escape", ":", "t", "r")
        assert await typed(shown) == "tr"


async def test_a_command_is_found_and_done_in_one_go(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press_at_once(*":export", "space", "a", "enter")
        await shown.settle()
        assert not shown.dialogs
        assert shown.places == ["export"]


async def test_a_panels_key_behind_the_way_to_it_acts_there(open_screen) -> None:
    async with open_screen() as shown:
        # Where the keys were pressed `a` shows what the run sampled.
        await shown.press_at_once("2", "a", *"sets")
        assert await typed(shown) == "sets"


async def test_a_value_is_opened_and_typed_in_one_go(open_screen) -> None:
    async with open_screen() as shown:
        before = shown.studio.config.learning_rate
        keys = ("3", "enter", "down", "down", "down", "enter", "ctrl+u", *"0.5", "enter")
        await shown.press_at_once(*keys)
        await shown.settle()
        assert before != 0.5
        assert shown.studio.config.learning_rate == 0.5


async def test_a_message_is_opened_and_written_in_one_go(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("c")
        await shown.press("escape")
        # `o` picks another model, `n` begins a new conversation: not while a message is written.
        await shown.press_at_once("i", *"onto", "ctrl+j", *"no")
        await shown.settle()
        assert not shown.dialogs
        assert shown.app.views["chat"]._editor.text == "onto\nno"


async def test_a_key_whose_end_is_never_told_holds_up_no_other_for_long(
    open_screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.typed_ahead._LONGEST_SECONDS", 0.0)
    async with open_screen() as shown:
        monkeypatch.setattr(shown.app, "_climbed", lambda *_: None)
        await shown.press("c")
        await shown.press("escape", ":")
        assert isinstance(shown.app.screen, Pick)


async def test_the_bottom_line_tells_the_keys_of_what_is_open(open_screen) -> None:
    async with open_screen() as shown:
        below = shown.key_line
        await shown.press(":")
        assert shown.key_line.strip() == "↑↓ choose  Enter ok  Esc close"
        await shown.press("escape")
        assert shown.key_line == below
