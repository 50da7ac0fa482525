"""`finetui templates` and a row as a named template writes it, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEMPLATE = """
register_template(
    name="olmo",
    format_user=StringFormatter(slots=["<ask>{{content}}</ask><say>"]),
    format_assistant=StringFormatter(slots=["{{content}}</say>"]),
    format_function=FunctionFormatter(slots=["{{content}}</say>"], tool_format="llama3"),
    format_tools=ToolFormatter(tool_format="llama3"),
    default_system="Be kind.",
    stop_words=["</say>"],
    efficient_eos=True,
)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def finetui(tmp_path: Path) -> Run:
    kept = tmp_path / "cache" / "templates" / "llamafactory-0.9.5" / "template.py"
    kept.parent.mkdir(parents=True)
    kept.write_text(TEMPLATE)
    folders = {name: str(tmp_path / name.lower()) for name in ("CACHE", "CONFIG", "STATE")}
    env = {**os.environ, "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1",
           **{f"FINETUI_{name}": folder for name, folder in folders.items()}}  # fmt: skip

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tui", *words]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )

    return run


def test_names_facts_and_refusals(finetui: Run) -> None:
    listed = finetui("templates")
    assert listed.returncode == 0 and listed.stderr == ""
    assert len(listed.stdout.splitlines()) == 1 + 124 + 6
    assert "qwen3_vl" in listed.stdout and "text image video" in listed.stdout
    shown = finetui("templates", "show", "olmo")
    assert shown.returncode == 0
    said = " ".join(shown.stdout.split())
    assert "read from llamafactory 0.9.5" in said and "system text Be kind." in said
    assert "answers closed the last one of a row" in said
    assert "its own, llama3, is code, which is not read" in said
    assert "<ask>QUESTION</ask><say>ANSWER</say><ask>QUESTION</ask><say>" in said
    lacking = finetui("templates", "show", "moss_vl")
    assert lacking.returncode == 0 and "its text is not here" in lacking.stdout
    wrong = finetui("templates", "show", "olma")
    assert wrong.returncode == 2 and "Did you mean olmo?" in wrong.stderr


def test_a_row_as_a_named_template_writes_it(finetui: Run, model_folder: Path) -> None:
    words = ("datasets", "show", "identity", "--model", str(model_folder), "--template", "olmo")
    shown = finetui(*words)
    assert shown.returncode == 0, shown.stderr
    assert "<ask>" in shown.stdout.replace("[", "").replace("]", "")
    assert "Template olmo is written as llamafactory 0.9.5 has it." in shown.stderr
    assert "vocabulary lacks <ask>" in shown.stderr
    beside = finetui("templates", "show", "olmo", "--model", str(model_folder))
    assert "template olmo, from llamafactory 0.9.5" in beside.stdout
    assert "the model's own, from the model's own" in beside.stdout
