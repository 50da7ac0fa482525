"""Picking out of the field's models, downloading one, agreeing to a model's own code."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from engine.worker.catalogue import pickables
from engine.worker.downloads import Download
from tui.model_actions import model_rows
from tui.widgets.list_view import ListPanel


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_typing_narrows_the_fields_models_and_enter_takes_one(open_screen, size) -> None:
    async with open_screen(size) as shown:
        await shown.press("1", "o")
        total = len(shown.app.screen.query_one(ListPanel).rows)
        assert total > 630 and f"{total} of {total}" in shown.text
        assert all(len(line) <= size[0] for line in shown.lines)
        await shown.type("qwen3 4b 2507 instruct")
        (row,) = shown.app.screen.query_one(ListPanel).rows
        assert row.text == "Qwen3-4B-Instruct-2507" and "4B" in row.figures
        assert "Hugging Face, ModelScope: Qwen/Qwen3-4B-Instruct-2507" in shown.text
        assert "template qwen3_nothink" in shown.text
        await shown.press("enter")
        assert "It is not on this machine yet" in shown.text
        await shown.press("escape")
        assert shown.studio.config.model_name_or_path == "Qwen/Qwen3-4B-Instruct-2507"
        assert shown.studio.config.hub == "huggingface"


async def test_what_is_known_of_a_model_stands_in_its_view_before_it_is_here(open_screen) -> None:
    async with open_screen(model="Qwen/Qwen3-VL-4B-Thinking") as shown:
        await shown.press("1", "right")
        assert "What is known of it" in shown.text
        assert "text, image, video" in shown.text and "qwen3_vl" in shown.text
        assert "llamafactory 0.9.5" in shown.text


async def test_on_modelscope_its_ids_are_taken(open_screen) -> None:
    async with open_screen() as shown:
        shown.studio.change("hub", "modelscope")
        await shown.press("1", "o")
        await shown.type("llama-3-8b llm-research")
        rows = shown.app.screen.query_one(ListPanel).rows
        assert [row.text for row in rows][:1] == ["Llama-3-8B"]
        await shown.press("enter", "escape")
        assert shown.studio.config.model_name_or_path == "LLM-Research/Meta-Llama-3-8B"
        assert shown.studio.config.hub == "modelscope"


def cached(model: Path, tmp_path: Path, name: str, **config: Any) -> Path:
    root = tmp_path / "hub" / ("models--" + name.replace("/", "--"))
    folder = root / "snapshots" / "abc"
    shutil.copytree(model, folder)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, **config}))
    return folder


async def test_a_model_on_disk_is_marked_and_taken_without_a_question(
    open_screen, tiny_model: Path, tmp_path: Path
) -> None:
    cached(tiny_model, tmp_path, "HuggingFaceTB/SmolLM2-135M-Instruct")
    async with open_screen() as shown:
        await shown.press("1", "o")
        await shown.type("huggingfacetb smollm2-135m-instruct")
        row = shown.app.screen.query_one(ListPanel).rows[0]
        assert row.mark == "✓" and row.text == "SmolLM2-135M-Instruct"
        await shown.press("enter")
        await shown.until(lambda: shown.studio.config.model_name_or_path.startswith("Hugging"))
        assert shown.dialogs == 0 and shown.studio.card is not None


async def test_a_template_that_differs_from_the_models_own_is_said(
    open_screen, tiny_model: Path, tmp_path: Path
) -> None:
    folder = cached(tiny_model, tmp_path, "HuggingFaceTB/SmolLM2-135M-Instruct")
    other = "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}"
    (folder / "chat_template.jinja").write_text(other)
    async with open_screen() as shown:
        await shown.press("1", "o")
        await shown.type("huggingfacetb smollm2-135m-instruct")
        await shown.press("enter")
        words = "The field writes smollm2 for this model"
        await shown.until(lambda: any(words in note.message for note in shown.app._notifications))


async def test_own_code_is_asked_for_by_name_and_no_is_the_default(
    open_screen, tiny_model: Path, tmp_path: Path
) -> None:
    mapped = {"AutoConfig": "configuration_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    folder = cached(tiny_model, tmp_path, "org/own", model_type="of_its_own", auto_map=mapped)
    for name in ("configuration_own.py", "modeling_own.py"):
        (folder / name).write_text("raise SystemExit('run!')\n")
    async with open_screen() as shown:
        await shown.press("1", "o")
        await shown.type("own")
        await shown.press("enter")
        assert "Run this model's own code?" in shown.text and "modeling_own.py" in shown.text
        await shown.press("escape")
        assert shown.studio.config.model_name_or_path == "org/own"
        assert shown.studio.config.trust_remote_code is False
        # Asked again, agreed: for this model only.
        shown.app.action_use_model("org/own")
        await shown.settle()
        await shown.press("y")
        assert shown.studio.config.trust_remote_code is True
        shown.app.action_use_model("demo")
        await shown.settle()
        assert shown.studio.config.trust_remote_code is False
        shown.app.action_use_model("org/own")
        await shown.settle()
        assert shown.dialogs == 0 and shown.studio.config.trust_remote_code is True


async def test_a_download_is_followed_to_its_end(open_screen, monkeypatch) -> None:
    model = "org/tiny"
    async with open_screen(model=model) as shown:
        downloads = shown.engine.downloads
        states = {model: Download(model, "huggingface", "running", 2, 5, "model.safetensors",
                                  1.5e9, 3e9)}  # fmt: skip
        stopped: list[str] = []
        monkeypatch.setattr(downloads, "begin", lambda config: None)
        monkeypatch.setattr(downloads, "of", states.get)
        monkeypatch.setattr(downloads, "stop", stopped.append)
        states_now = dict(states)
        states.clear()
        await shown.press("1", "d")
        states.update(states_now)
        shown.app.tick()
        await shown.settle()
        assert "1.5 GB of 3 GB" in shown.text and "50 %" in shown.text
        assert "2 of 5" in shown.text and "model.safetensors" in shown.text
        assert "↓ 50 %" in shown.lines[1]
        await shown.press("d")
        assert stopped == [model]
        states[model] = Download(model, "huggingface", "done", licence="apache-2.0")
        shown.app.tick()
        await shown.settle()
        told = [note.message for note in shown.app._notifications]
        assert any("org/tiny is on this machine now. Licence: apache-2.0." in note for note in told)


async def test_a_failed_download_is_told_as_a_card(open_screen, monkeypatch) -> None:
    from engine.problem import Problem

    async with open_screen(model="org/tiny") as shown:
        problem = Problem("The hub can't be reached, so org/tiny …", "there", "Here are: demo.")
        failed = Download("org/tiny", "huggingface", "failed", problem=problem)
        monkeypatch.setattr(shown.engine.downloads, "begin", lambda config: None)
        await shown.press("1", "d")
        monkeypatch.setattr(shown.engine.downloads, "of", {"org/tiny": failed}.get)
        shown.app.tick()
        await shown.settle()
        assert "The hub can't be reached" in shown.text and "Here are: demo." in shown.text


def test_rows_are_made_and_searched_fast() -> None:
    lines = pickables("huggingface")
    began = time.perf_counter()
    rows, details, words = model_rows(lines, True)
    assert len(rows) == len(details) == len(words) == len(lines)
    # No clock is asserted on; the figure stands in the output of -s.
    print(f"{1000 * (time.perf_counter() - began):.1f} ms for {len(rows)} rows")


def test_what_a_row_says() -> None:
    lines = pickables("huggingface")
    rows, details, _words = model_rows(lines, True)
    by_name = {row.text: (row, details[row.key]) for row in rows}
    row, told = by_name["Qwen2.5-VL-7B-Instruct"]
    assert row.figures == ("qwen2_vl", "video", "chat", "7B")
    assert "takes image, video" in told
    assert by_name["Qwen3-0.6B-Thinking"][0].figures[2] == "thinks"
    assert by_name["Gemma-3n-E2B"][0].figures[1:3] == ("all media", "base")
    assert by_name["Qwen2-Audio-7B"][0].figures[1] == "audio"
