"""The screen opens in a pane: the right panels at the right size, and it leaves no trace."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.terminal


def test_120_by_40_shows_the_rail_and_the_training_view(pane, tiny_model) -> None:
    tmux = pane(120, 40)
    seen = tmux.open("--model", str(tiny_model))
    rows = seen.rstrip("\n").split("\n")
    assert len(rows) == 40
    assert rows[0].startswith(" finetui  tiny-llama · sft · lora")
    assert "○ ready" in rows[0]
    heads = [row for row in rows if row.startswith("╭─ ")]
    order = [head.split()[1:3] for head in heads if head[3:4].isdigit()]
    assert order == [["1", "Model"], ["2", "Data"], ["3", "Settings"], ["4", "Runs"]]
    assert rows[1][32] == "┏", "the view has the focus, and stands right of 32 columns"
    assert "t train" in rows[-1]
    seen = tmux.wait_for("✓ identity")
    assert "machine" in seen and "log" in seen


def test_80_by_24_shows_one_pane_and_the_tabs(pane, tiny_model) -> None:
    tmux = pane(80, 24)
    seen = tmux.open("--model", str(tiny_model))
    rows = seen.rstrip("\n").split("\n")
    assert len(rows) == 24
    assert rows[0].startswith(" finetui  tiny-llama")
    tabs = rows[1].replace("▐", " ").replace("▌", " ").split()
    assert [word for word in tabs if word.isalpha()] == [
        *("Model", "Data", "Settings", "Runs"),
        *("Train", "Chat", "Evaluate", "Export"),
    ]
    tmux.wait_for(lambda now: now.split("\n")[2].startswith("┏━ Welcome"))
    tmux.keys("2")
    seen = tmux.wait_for("✓ identity")
    assert seen.split("\n")[2].startswith("┏━ 2 Data")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_q_leaves_the_terminal_as_it_was(pane, tiny_model, size) -> None:
    tmux = pane(*size)
    before = tmux.settings_of_tty()
    tmux.open("--model", str(tiny_model))
    assert tmux.state("alternate_on") == "1"
    tmux.keys("q")
    assert tmux.last_status() == 0
    tmux.assert_as_before(before)


def test_the_pane_grows_and_shrinks(pane, tiny_model) -> None:
    tmux = pane(80, 24)
    tmux.open("--model", str(tiny_model))
    tmux.tmux("resize-window", "-x", "120", "-y", "40")
    tmux.wait_for("╭─ 1 Model")
    tmux.tmux("resize-window", "-x", "80", "-y", "24")
    seen = tmux.wait_for(lambda now: "╭─ 1 Model" not in now and "1 Model  2 Data" in now)
    assert len(seen.rstrip("\n").split("\n")) == 24


def test_a_command_word_opens_no_screen(pane) -> None:
    tmux = pane(80, 24)
    tmux.line(f"{sys.executable} -m tui --version")
    tmux.wait_for(lambda seen: "finetui " in seen and seen.rstrip().endswith("ready>"))
    assert tmux.state("alternate_on") == "0"
