"""The top and the bottom line at every width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len

from tui.widgets.key_line import KeyHint, KeyLine, fitting
from tui.widgets.top_line import Part, TopLine, TopState, state_text, training_state

Fixture = Callable[..., Any]

TRAINING = training_state(
    "training", "392/685", "57 %", "2m10s left", "2m10s", "412 tok/s"
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("Training, 120×40", TRAINING),
        ("Settings, 120×40", TopState("ready", (Part("ready"), Part(" t starts training", 1)))),
    ],
)
async def test_the_top_line_of_the_pictures(
    name: str, state: TopState, stage: Fixture, picture: Fixture, settle: Fixture
) -> None:
    target = picture(name)[0]
    top = TopLine()
    app = stage(top, 120, 1)
    async with app.run_test(size=(120, 5)) as pilot:
        top.set_loaded("SmolLM2-135M-Instruct", "sft", "lora")
        top.set_state(state)
        await settle(pilot)
        assert top.picture_lines() == [target]


async def test_the_top_line_of_the_narrow_picture(
    stage: Fixture, picture: Fixture, settle: Fixture
) -> None:
    target = picture("Training, 80×24")[0]
    top = TopLine()
    app = stage(top, 80, 1)
    async with app.run_test(size=(100, 5)) as pilot:
        top.set_loaded("SmolLM2-135M", "sft", "lora")
        top.set_state(TRAINING)
        await settle(pilot)
        (line,) = top.picture_lines()
        # What is drawn is there; a little more may be.
        for word in target.split():
            assert word in line
        assert line.startswith(target[:36])


@pytest.mark.parametrize("width", range(1, 121))
def test_a_top_line_of_any_width(width: int) -> None:
    top = TopLine()
    top.set_loaded("微调/SmolLM2-135M-Instruct\x1b", "sft", "lora")
    top.set_state(TRAINING)
    line = "".join(text for text, _ in top.draw_line(0, width, 1))
    if width >= 12:
        assert cell_len(line) == width
    if width > 30:
        assert "● " in line
        assert "392/685" in line


def test_the_state_is_cut_by_rank() -> None:
    parts = TRAINING.parts
    full = "training  392/685  57 %  2m10s left  412 tok/s"
    assert state_text(parts, 60) == full
    assert state_text(parts, len(full) - 1) == "training  392/685  57 %  2m10s left"
    assert state_text(parts, 30) == "392/685  57 %  2m10s left"
    assert state_text(parts, 20) == "392/685  57 %  2m10s"
    assert state_text(parts, 15) == "392/685  57 %"
    assert state_text(parts, 8) == "392/685"
    assert state_text(parts, 4) == "392…"
    assert state_text((), 4) == ""


KEYS = [
    [KeyHint("s", "stop", "s"), KeyHint("space", "pause", "space"), KeyHint("z", "zoom", "z"),
     KeyHint("y", "log axis", "y"), KeyHint("o", "overlay a run", "o")],
    [KeyHint("1-4", "panes"), KeyHint("c", "chat", "c"), KeyHint("x", "export", "x")],
]  # fmt: skip


async def test_the_key_line_of_the_picture(
    stage: Fixture, picture: Fixture, settle: Fixture
) -> None:
    target = picture("Training, 120×40")[39]
    keys = KeyLine()
    app = stage(keys, 120, 1)
    async with app.run_test(size=(120, 5)) as pilot:
        keys.set_keys(*KEYS)
        await settle(pilot)
        assert keys.picture_lines() == [target]
        await pilot.click(keys, offset=(target.index("zoom") + 1, 0))
        await pilot.click(keys, offset=(target.index("panes"), 0))
        await pilot.click(keys, offset=(target.index("commands"), 0))
        await settle(pilot)
        assert app.heard == ["z", "colon"]


@pytest.mark.parametrize("width", range(0, 121))
def test_keys_that_do_not_fit_are_left_out_from_the_end(width: int) -> None:
    tail = [KeyHint("?", "keys"), KeyHint(":", "commands")]
    placed = fitting(KEYS, tail, width)
    texts = [hint.text for _, hint in placed]
    assert sum(len(gap) + len(h.key) + 1 + len(h.text) for gap, h in placed) <= width
    everything = [hint.text for group in KEYS for hint in group]
    own = [text for text in texts if text in everything]
    assert own == everything[: len(own)]
    if width >= 30:
        assert texts[-2:] == ["keys", "commands"]
        assert own
