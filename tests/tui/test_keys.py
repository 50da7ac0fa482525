"""The table of actions, a person's own keys, the help card and the palette."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tui import actions
from tui.actions import ACTIONS, BY_ID
from tui.keys import Keys, key_sign, read_keys
from tui.panes.chat import Transcript
from tui.panes.data import DataView
from tui.panes.evaluate import EvaluateView
from tui.panes.export import ExportView
from tui.panes.job_form import JobForm
from tui.panes.message_line import MessageLine
from tui.panes.model import ModelView
from tui.panes.rail import DataPanel, ModelPanel, RunsPanel, SettingsPanel
from tui.panes.runs import RunView
from tui.panes.settings import SettingsForm
from tui.panes.train import TrainView


def test_ids_are_told_apart_and_no_key_is_taken_twice_in_a_scope() -> None:
    assert len(BY_ID) == len(ACTIONS)
    for scope in {action.scope for action in ACTIONS}:
        counts = Counter(key for action in actions.in_scope(scope) for key in action.keys)
        assert max(counts.values()) == 1, scope


def test_nothing_is_only_on_a_chord_that_tmux_screen_or_flow_control_takes() -> None:
    taken = {"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+q"}
    for action in ACTIONS:
        assert set(action.keys) - taken, action.id


async def test_every_action_has_a_method_where_its_key_acts(open_screen) -> None:
    homes: dict[str, tuple[type, ...]] = {
        "train": (TrainView, RunView),
        "model": (ModelPanel,),
        "model_card": (ModelView,),
        "data": (DataPanel,),
        "rows": (DataView,),
        "settings": (SettingsPanel,),
        "form": (SettingsForm,),
        "runs": (RunsPanel,),
        "chat": (Transcript,),
        "values": (JobForm,),
        "evaluate": (EvaluateView,),
        "export": (ExportView,),
    }
    async with open_screen() as shown:
        for action in ACTIONS:
            name = "action_" + action.method.partition("(")[0]
            if action.scope == "app":
                assert hasattr(shown.app, name), action.id
            elif action.scope == "message":
                assert MessageLine.scope == "message"
            else:
                assert all(hasattr(home, name) for home in homes[action.scope]), action.id


@pytest.mark.parametrize(
    ("key", "sign"),
    [("question_mark", "?"), ("ctrl+p", "Ctrl+P"), ("f5", "F5"), ("t", "t"), ("escape", "Esc")],
)
def test_keys_are_written_for_a_person(key: str, sign: str) -> None:
    assert key_sign(key) == sign


def test_own_keys_are_read_and_what_is_wrong_with_them_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    keys, told = read_keys(path)
    assert keys.own == {} and told is None
    path.write_text('"app.train" = "f6"\n"no.such" = "x"\n', encoding="utf-8")
    keys, told = read_keys(path)
    assert keys.sign("app.train") == "F6" and keys.sign("app.stop") == "s"
    assert told is not None and "no.such" in told
    path.write_text("app.train = = 3", encoding="utf-8")
    keys, told = read_keys(path)
    assert keys.own == {} and told is not None and str(path) in told


async def test_an_own_key_acts_and_stands_wherever_the_key_is_told(open_screen) -> None:
    keys = Keys({"app.export": "f9", "app.train": "f6"})
    async with open_screen(keys=keys) as shown:
        assert "F9 export" in shown.key_line and "F6 train" in shown.key_line
        assert "F6 starts training" in shown.lines[0]
        await shown.press("x")
        assert shown.places == ["train"]
        await shown.press("f9")
        assert shown.places == ["export"]


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("m", "Look closer at the last part"),
        ("2", "Use this set, or leave it out"),
        ("4", "Go on from a checkpoint of choice"),
        ("e", "Start the evaluation"),
        ("x", "Start the export"),
    ],
)
async def test_help_tells_the_keys_of_the_pane_and_of_the_screen(open_screen, way, told) -> None:
    async with open_screen((120, 60)) as shown:
        await shown.press(way, "question_mark")
        assert shown.dialogs == 1
        assert told in shown.text
        assert "Train with what the left side says" in shown.text
        await shown.press("escape")
        assert shown.dialogs == 0


async def test_long_help_can_be_scrolled_on_a_small_screen(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        await shown.press("question_mark")
        before = shown.text
        await shown.press("pagedown")
        assert shown.text != before


async def test_every_command_is_found_by_name_and_done(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("colon")
        await shown.type("export a model")
        await shown.press("enter")
        assert shown.places == ["export"] and shown.dialogs == 0
        await shown.press("ctrl+p")
        await shown.type("nothing is called so")
        assert "Nothing matches." in shown.text
        await shown.press("enter")
        assert shown.dialogs == 1
        await shown.press("escape")
        assert shown.dialogs == 0 and shown.places == ["export"]


async def test_where_nothing_is_searched_a_text_does_not_act_as_keys(open_screen) -> None:
    """`/test` in the monitor: none of its letters trains, stops or leaves."""
    async with open_screen() as shown:
        await shown.press("m", "slash")
        await shown.type("test")
        await shown.settle()
        assert not shown.engine.queue and "test" in shown.text
        await shown.press("escape")
        assert shown.places == ["train"]


async def test_the_palette_runs_an_action_of_the_pane_it_was_opened_from(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("2", "enter", "colon")
        await shown.type("raw fields")
        await shown.press("enter")
        assert shown.app.views["data"].mode == "tokens"  # type: ignore[attr-defined]


async def test_letters_type_in_a_text_field_and_act_outside(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("c")
        await shown.type("texm")
        assert shown.places == ["chat"]
        assert "> texm" in shown.text
        await shown.press("escape", "e")
        assert shown.places == ["evaluate"]
