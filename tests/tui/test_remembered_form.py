"""What the screen remembers between starts, and what it makes of a file it can't use."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.paths import state_dir
from tui.remembered import Remembered, log_fault, recall, remember


async def test_the_form_is_there_again_after_a_restart(open_screen) -> None:
    async with open_screen() as shown:
        shown.studio.change_many({"lora_rank": 24, "dataset": "instructions", "max_steps": 7})
        await shown.pilot.press("q")
        await shown.pilot.pause(0.5)
    remembered, fault = recall()
    assert fault == ""
    async with open_screen(remembered=remembered) as shown:
        config = shown.studio.config
        assert (config.lora_rank, config.dataset, config.max_steps) == (24, "instructions", 7)
        assert "rank 24" in shown.text


async def test_a_form_of_another_version_is_told_and_begun_anew(open_screen) -> None:
    remembered = Remembered(form={"lora_rank": "none at all", "gone": 1})
    async with open_screen(remembered=remembered) as shown:
        assert "The remembered form could not be used" in shown.text
        assert shown.studio.config.lora_rank == 8


@pytest.mark.parametrize("text", ["{", "[]", '{"form": 3, "language": [], "later": 1}', "\x00"])
def test_a_damaged_file_is_never_in_the_way(home: Path, text: str) -> None:
    state_dir().mkdir(parents=True)
    (state_dir() / "screen.json").write_text(text, encoding="utf-8")
    remembered, fault = recall()
    assert remembered == Remembered()
    assert bool(fault) != text.startswith('{"form"')


def test_what_is_remembered_comes_back(home: Path) -> None:
    what = Remembered(form={"a": 1}, language="zh_CN", theme="light", chat_system="Sei kurz.")
    assert remember(what) == ""
    assert recall() == (what, "")
    assert json.loads((state_dir() / "screen.json").read_text(encoding="utf-8"))["theme"] == "light"


def test_a_folder_that_can_not_be_written_is_told(home: Path, monkeypatch) -> None:
    blocked = home / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("FINETUI_STATE", os.fspath(blocked / "state"))
    assert "could not be remembered" in remember(Remembered())


def test_a_log_that_had_to_go_elsewhere_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path))
    assert log_fault(tmp_path / "finetui.log") == ""
    told = log_fault(Path("/tmp/other/finetui.log"))
    assert told.startswith(f"{tmp_path} can't be written") and "/tmp/other" in told
