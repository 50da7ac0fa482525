"""Cards, questions, a line to type, a list to pick from: what their keys give back."""

from __future__ import annotations

import pytest
from textual import events

from tui.dialogs import Answer, AskLine, Card, Pick, Question
from tui.widgets.list_view import ListRow

FOREIGN = "[/b] \x1b[31m \u202e"
ROWS = [
    ListRow("a", "Alpha", ("1.2", "4.1 MB")),
    ListRow("b", "Beta [/b]", ("0.9", "4.1 MB")),
    ListRow("c", "Gamma", dim=True, reason="too big"),
]


async def asked(shown, dialog, *keys: str):
    """What a dialog gives back after some keys; a list, empty while it is open."""
    given: list[object] = []
    shown.app.push_screen(dialog, given.append)
    await shown.settle()
    await shown.press(*keys)
    return given


@pytest.mark.parametrize(("key", "given"), [("y", "y"), ("escape", ""), ("enter", "")])
async def test_a_question_gives_the_key_of_its_answer(open_screen, key: str, given: str) -> None:
    async with open_screen() as shown:
        question = Question("Sure?", ["It is gone then."], [Answer("y", "go on")])
        assert await asked(shown, question, key) == [given]


async def test_other_keys_do_nothing_under_a_dialog(open_screen) -> None:
    async with open_screen() as shown:
        question = Question("Sure?", ["It is gone then."], [Answer("y", "go on")])
        assert await asked(shown, question, "t", "e", "2", "q") == []
        assert shown.dialogs == 1 and shown.studio.live is None
        assert "y  go on   Esc  back" in shown.text


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 10)])
async def test_a_card_fits_the_screen_and_shows_foreign_text(open_screen, size) -> None:
    async with open_screen(size) as shown:
        await asked(shown, Card(FOREIGN, [FOREIGN + " word" * 60, [("x", "dim")]], {"d": FOREIGN}))
        assert "[/b] ␛[31m ⟨U+202E⟩" in shown.text
        assert all(len(line) <= size[0] for line in shown.lines)


async def test_the_line_of_a_list_stays_in_view_when_the_screen_is_made_small(open_screen) -> None:
    async with open_screen((120, 40)) as shown:
        await shown.press("colon")
        await shown.pilot.resize_terminal(60, 14)
        await shown.settle()
        assert "type to narrow the list" in shown.text
        await shown.pilot.resize_terminal(120, 40)
        await shown.settle()
        assert "Leave; with a run going it asks first" in shown.text


async def test_a_line_is_checked_before_it_is_given(open_screen) -> None:
    async with open_screen() as shown:
        line = AskLine("Row", "7", "1 … 9", lambda text: "" if text == "5" else "Not that one.")
        given = await asked(shown, line, "enter")
        assert given == [] and "Not that one." in shown.text
        await shown.press("backspace", "5", "enter")
        assert given == ["5"]
        assert await asked(shown, AskLine("Row"), "x", "escape") == [None]


async def test_a_list_is_narrowed_by_typing_and_gives_the_key(open_screen) -> None:
    async with open_screen() as shown:
        details = {"a": "the first [/b]", "b": "the second"}
        assert await asked(shown, Pick("Which", ROWS, details=details), "down", "enter") == ["b"]
        given = await asked(shown, Pick("Which", ROWS, details=details), "b", "e", "t")
        assert "Beta [/b]" in shown.text and "Alpha" not in shown.text
        assert "the second" in shown.text
        await shown.press("enter")
        assert given == ["b"]
        assert await asked(shown, Pick("Which", ROWS), "escape") == [None]


async def test_a_dim_row_can_not_be_taken_and_an_empty_list_says_so(open_screen) -> None:
    async with open_screen() as shown:
        given = await asked(shown, Pick("Which", ROWS), "down", "down", "enter")
        assert given == [] and "too big" in shown.text
        await shown.press("z")
        assert "Nothing matches." in shown.text
        await shown.press("enter", "escape")
        assert given == [None]
        await asked(shown, Pick("Which", [], empty="Nothing yet."))
        assert "Nothing yet." in shown.text


async def test_the_row_that_is_in_force_is_under_the_cursor(open_screen) -> None:
    async with open_screen() as shown:
        assert await asked(shown, Pick("Which", ROWS, selected="b"), "enter") == ["b"]


async def test_the_mouse_picks(open_screen) -> None:
    async with open_screen() as shown:
        given = await asked(shown, Pick("Which", ROWS))
        await shown.pilot.click("Pick ListPanel", offset=(5, 2))
        await shown.pilot.click("Pick ListPanel", offset=(5, 2))
        await shown.settle()
        assert given == ["b"]


@pytest.mark.parametrize("below", [False, True])
async def test_a_key_that_comes_after_the_one_that_closed_it_closes_nothing_else(
    open_screen, below: bool
) -> None:
    async with open_screen() as shown:
        if below:
            shown.app.push_screen(Card("Below", ["one"]))
        answers: list[str | None] = []
        card = Card("Above", ["two"], {"l": "log"})
        shown.app.push_screen(card, answers.append)
        await shown.settle()
        for _twice in range(2):
            card.post_message(events.Key("l", "l"))
        card.action_leave()
        await shown.settle()
        assert len(answers) == 1 and shown.dialogs == below
        assert not shown.app._told and shown.app.is_running
