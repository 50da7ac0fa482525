"""The question that a person is asked about thoughts, its answer, and what it leads to."""

from __future__ import annotations

import json
from pathlib import Path

from engine.datasets import TokenPiece
from engine.worker.thoughts import ThoughtView
from tui.panes.data import DataView
from tui.panes.thought_views import thought_lines

# As Qwen3 and others: a thought is written where there is one.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}"
    "{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ROWS = [
    {"instruction": "Why?", "output": "<think>\nHm.\n</think>\n\nBecause."},
    {"instruction": "Who?", "output": "I."},
]


def model_that_thinks(tiny: Path, into: Path) -> Path:
    into.mkdir()
    for file in tiny.iterdir():
        if file.is_file():
            (into / file.name).write_bytes(file.read_bytes())
    config = json.loads((into / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (into / "tokenizer_config.json").write_text(json.dumps(config))
    (into / "chat_template.jinja").write_text(THINKING)
    return into


def own_set(home: Path, rows: list[dict[str, str]]) -> Path:
    folder = home / "sets"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    return folder


async def open_rows(shown, folder: Path) -> DataView:
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine"})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()
    await shown.press("2", "enter", "h")
    view = shown.app.views["data"]
    assert isinstance(view, DataView)
    return view


async def test_both_renderings_and_the_setting_they_lead_to(
    open_screen, tiny_model: Path, tmp_path: Path
) -> None:
    model = model_that_thinks(tiny_model, tmp_path / "thinks")
    folder = own_set(tmp_path, [ROWS[1]])
    async with open_screen(model=str(model)) as shown:
        view = await open_rows(shown, folder)
        words = " ".join(shown.text.split())
        assert "Does your data hold thoughts?" in words
        assert "No: no answer does, of the first rows (1)." in words
        assert "enable_thinking: on" in words and "enable_thinking: off" in words
        assert view.thoughts is not None
        texts = [
            ["".join(p.text for p in pieces if p.part == part) for part in ("prompt", "trained")]
            for pieces in (view.thoughts.on, view.thoughts.off)
        ]
        assert texts[0][1] == "<think>\n\n</think>\n\nI.<|im_end|>\n"
        assert texts[1][0].endswith("<think>\n\n</think>\n\n") and texts[1][1] == "I.<|im_end|>\n"
        assert "Enter sets Thinking to off; now it is on." in words
        await shown.press("enter")
        assert shown.studio.config.enable_thinking is False
        assert "The setting Thinking fits: it is off." in " ".join(shown.text.split())
        await shown.press("v")
        assert view.mode == "conversation"


async def test_thoughts_in_the_data_ask_for_thinking(
    open_screen, tiny_model: Path, tmp_path: Path
) -> None:
    model = model_that_thinks(tiny_model, tmp_path / "thinks")
    async with open_screen(model=str(model)) as shown:
        await open_rows(shown, own_set(tmp_path, ROWS))
        words = " ".join(shown.text.split())
        assert "Yes: of the answers in the first rows (2) 50 %." in words
        assert "The setting Thinking fits: it is on." in words


async def test_a_template_without_thoughts_says_so(open_screen, tiny_model: Path) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        await shown.press("2", "enter", "h")
        words = " ".join(shown.text.split())
        assert "The template in use has no thoughts" in words
        await shown.press("enter")
        assert shown.studio.config.enable_thinking is True
        await shown.press("h")
        assert "Nova" in shown.text


def test_both_stand_side_by_side_where_there_is_room() -> None:
    on = (TokenPiece("Q", 1, "prompt"), TokenPiece("<think>A", 2, "trained"))
    off = (TokenPiece("Q<think>", 1, "prompt"), TokenPiece("A", 2, "trained"))
    view = ThoughtView("x", 0, 0.0, 5, True, on, off)
    wide, narrow = (
        ["".join(text for text, _role in line) for line in thought_lines(view, None, width)]
        for width in (100, 60)
    )
    assert any("Q<think>A" in line and "│ Q<think>A" in line for line in wide)
    assert not any("│" in line for line in narrow) and len(narrow) > len(wide)
    assert "now it is as the data is" in " ".join(narrow)
    assert all(len(line) <= 100 for line in wide) and all(len(line) <= 60 for line in narrow)
