"""A Chinese screen says in Chinese what the engine says, wherever it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import JobFailed, LogLine, Progress, StateChanged
from engine.problem import Problem
from tui import language

# Three words of English one behind the other, which no name on the screen is.
ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}")


@pytest.fixture
def chinese(home: Path) -> Iterator[None]:
    yield
    language.use("en")


async def in_chinese(shown: Any) -> None:
    shown.app.use_language("zh_CN")
    await shown.settle()


def squeezed(shown: Any) -> str:
    """What stands on the screen, without what lines and frames put in between."""
    return re.sub(r"[\s│┃║|]+", "", shown.text)


@pytest.mark.usefixtures("chinese")
async def test_a_failure_and_the_log(open_screen) -> None:
    async with open_screen() as shown:
        await in_chinese(shown)
        shown.studio.inbox += [
            StateChanged(run="r", time=1.0, state="loading"),
            Progress(run="r", time=1.0, activity="Checking faulty.json", done=1, total=2),
        ]
        shown.app.take_in()
        await shown.settle()
        live = shown.studio.jobs["r"]
        assert live.activity == "Checking faulty.json"
        live.fold(LogLine(run="r", time=2.0, text="Going on from step 5 (checkpoint-5)."))
        assert any("从第 5 步继续（checkpoint-5）。" in str(line) for line in live.log)
        shown.studio.inbox.append(
            JobFailed(
                run="r",
                time=3.0,
                what="The loss of step 7 is nan, not a finite number.",
                where="/sets/a.json, line 3",
                hint="Checkpoint 5 is sound: change the setting and resume from it.",
            )
        )
        shown.app.take_in()
        await shown.settle()
        text = squeezed(shown)
        for words in (
            "第7步的损失值是nan，不是有限的数。",
            "/sets/a.json，第3行",
            "检查点5完好：改动设置后从它续训。",
        ):
            assert words in text
        await shown.press("escape")


@pytest.mark.usefixtures("chinese")
async def test_a_card_and_a_toast(open_screen) -> None:
    async with open_screen(size=(120, 40)) as shown:
        await in_chinese(shown)
        shown.app.tell(Problem("There are no rows to train on.", hint="Name a set in dataset."))
        await shown.settle()
        assert "没有可训练的数据行。" in squeezed(shown)
        assert "在dataset中填写数据集。" in squeezed(shown)
        await shown.press("escape")
        shown.app.notify("There is no file a.yaml. [/sets] Check the path.\nNo such thing.")
        await shown.settle()
        assert "没有文件a.yaml。[/sets]检查路径。" in squeezed(shown)
        assert "No such thing." in shown.text


@pytest.mark.usefixtures("chinese")
async def test_the_form(open_screen) -> None:
    async with open_screen(size=(140, 44)) as shown:
        await in_chinese(shown)
        shown.studio.change_many({"val_size": 1.5})
        await shown.press("3", "enter")
        assert "val_size为1.5：从1起它表示行数，必须是整数。" in squeezed(shown)
        await shown.press("slash")
        await shown.type("epochs")
        await shown.press("enter", "enter", "ctrl+u")
        await shown.type("abc")
        assert 'num_train_epochs为"abc"：应为一个数。' in squeezed(shown)


@pytest.mark.usefixtures("chinese")
async def test_a_checked_set(open_screen, home: Path) -> None:
    """Nothing that the check says of a faulty set is left in English."""
    rows: list[Any] = [{"instruction": f"Q{n}", "output": f"Answer {n}"} for n in range(20)]
    rows[3] = dict(rows[2])
    rows[5]["output"] = ""
    rows[6] = {"instruction": "a", "output": 7}
    rows[7]["output"] = "I am {{name}}."
    rows[8]["output"] = "a\x07b"
    rows[9]["output"] = "caf\ufffd"
    rows[10] = "no object"
    folder = home / "sets"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "lost.json").write_text('[{"a": 1,}]', encoding="utf-8")
    entries = {name: {"file_name": f"{name}.json"} for name in ("mine", "lost")}
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    async with open_screen(size=(140, 60)) as shown:
        await in_chinese(shown)
        shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine"})
        shown.studio.read_datasets()
        shown.app.show()
        await shown.settle()
        await shown.press("2", "enter", "i")
        view = shown.app.views["data"]
        await shown.until(lambda: view.checks.run is not None and view.checks.run.state.finished)
        await shown.press("i")
        assert shown.dialogs == 1
        words = [line for line in shown.lines if ENGLISH.search(line)]
        assert not words, words
        assert "不能用的行" in shown.text and "'output'为空" in squeezed(shown)
        await shown.press("escape", "escape", "down", "enter")
        assert "lost.json不是有效的JSON" in squeezed(shown)


async def test_an_english_screen_is_as_it_was(open_screen) -> None:
    async with open_screen() as shown:
        shown.app.tell(Problem("There are no rows to train on.", hint="Name a set in dataset."))
        await shown.settle()
        assert "There are no rows to train on." in shown.text
        await shown.press("escape")
