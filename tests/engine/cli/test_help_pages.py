"""`--help` is whole, plain and fit for any terminal, pipe and locale."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engine.cli.commands import application
from engine.cli.help_pages import without_types

REPO = Path(__file__).resolve().parents[3]


def _commands(command: Any, name: str = "finetui") -> Iterator[tuple[str, Any]]:
    yield name, command
    for key, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{name} {key}")


def _pages() -> list[tuple[str, str]]:
    whole = without_types(typer.main.get_command(application()))
    return [
        (name, command.get_help(typer.Context(command, info_name=name)))
        for name, command in _commands(whole)
        if name != "finetui"
    ]


def _shell(line: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": str(REPO), "FINETUI_STATE": str(tmp_path / "state")}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("finetui", f"{sys.executable} -m tui")],
        env={**os.environ, **own, **environment}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip


def test_pages_hold_whole_sentences_and_no_types_of_the_language() -> None:
    pages = _pages()
    assert len(pages) > 20
    for name, page in pages:
        usage, _, told = page.partition("\n")
        assert not [line for line in told.splitlines() if line.endswith("...")], name
        assert "<" not in usage + told, name


def test_the_first_page_names_every_command(tmp_path: Path) -> None:
    told = _shell("finetui --help", tmp_path).stdout
    line = next(line for line in told.splitlines() if line.startswith("commands:"))
    whole = typer.main.get_command(application())
    assert sorted(line.split()[1:]) == sorted(whole.commands)  # type: ignore[attr-defined]
    assert _shell("finetui --lang zh --help", tmp_path).stdout == told


@pytest.mark.parametrize("command", ["--help", "train --help", "templates", "settings"])
def test_a_reader_that_leaves_early_is_no_failure(command: str, tmp_path: Path) -> None:
    done = _shell(f"finetui {command} | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["--help", "train --help", "datasets show identity --row 50"])
def test_a_locale_without_the_characters_gets_marks(command: str, tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = _shell(f"finetui {command}", tmp_path, **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "finetui" in done.stdout or "?" in done.stdout


def test_a_line_that_is_not_understood_ends_its_sentence(tmp_path: Path) -> None:
    assert (
        "No such option: --lagn. Try: finetui --help" in _shell("finetui --lagn", tmp_path).stderr
    )
    assert "'train'? Try:" in _shell("finetui trian", tmp_path).stderr
    lacking = _shell("finetui train --resume", tmp_path).stderr
    assert lacking == "Option '--resume' requires an argument. Try: finetui train --help\n"
