"""Who may import whom: the contracts, what is loaded by opening the screen, what never is."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "bitsandbytes",
    "numpy",
    "pandas",
    "matplotlib",
)
# What the screen may take from the engine; `engine.cli` is the command line's door only.
OPEN_TO_THE_SCREEN = {
    "engine.config",
    "engine.datasets",
    "engine.events",
    "engine.installed",
    "engine.paths",
    "engine.problem",
    "engine.runs",
    "engine.telemetry",
    "engine.worker",
}
ALLOWED_BESIDES = {
    ("tui/__main__.py", "engine.cli"),
    ("tui/locales/gather.py", "engine.models"),
}


def sources(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names of all that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_by(code: str, home: Path) -> set[str]:
    """The modules in `sys.modules` of a fresh interpreter after `code`."""
    script = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    places = {f"FINETUI_{name}": str(home / name.lower()) for name in ("STATE", "CACHE", "CONFIG")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=home,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home), **places},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def heavy(modules: set[str]) -> set[str]:
    return {name for name in HEAVY if name in modules}


def test_the_contracts_of_the_import_linter_are_kept() -> None:
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter comes with the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_the_engine_knows_no_screen() -> None:
    for path, tree in sources("engine"):
        for name in imported(tree):
            assert name.split(".")[0] not in ("tui", "textual"), (path, name)
            assert name != "rich.live" and not name.startswith("rich.live."), (path, name)


def test_the_screen_takes_only_what_is_open_to_it() -> None:
    for path, tree in sources("tui"):
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] != "engine" or len(parts) == 1 or name == "engine.__version__":
                continue
            part = ".".join(parts[:2])
            assert part in OPEN_TO_THE_SCREEN or (path, part) in ALLOWED_BESIDES, (path, name)


def test_widgets_terminal_and_theme_know_no_engine() -> None:
    for path, tree in sources("tui"):
        if path.split("/")[1] in ("widgets", "terminal", "theme"):
            assert not [name for name in imported(tree) if name.split(".")[0] == "engine"], path


def test_heavy_libraries_are_imported_inside_functions_only() -> None:
    for package in ("engine", "tui"):
        for path, tree in sources(package):
            if path.startswith(("engine/training/", "engine/evaluation/", "engine/export/",
                                "engine/chat/")):  # fmt: skip
                continue  # only ever reached from the engine thread
            top = ast.Module([node for node in tree.body if not _typing_only(node)], [])
            names = {
                name.split(".")[0]
                for node in top.body
                if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try, ast.If))
                for name in imported(node)
            }
            assert not names & set(HEAVY), path


def _typing_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


@pytest.mark.parametrize(
    "module",
    ["engine", "engine.worker", "engine.worker.questions", "engine.datasets", "engine.models",
     "engine.config", "engine.telemetry", "engine.cli", "tui.app", "tui.start", "tui.__main__"],
)  # fmt: skip
def test_importing_a_part_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert heavy(loaded_by(f"import {module}", tmp_path)) == set()


OPENED = """
import asyncio
from engine.telemetry import Sampler
from engine.worker import Engine
from tui.app import FinetuiApp
from tui.remembered import Remembered

async def look():
    engine, sampler = Engine(), Sampler()
    engine.start()
    sampler.sample()
    app = FinetuiApp(engine, sampler, Remembered())
    async with app.run_test(size=(120, 40)) as pilot:
        app.tick()
        for key in ("1", "2", "enter", "3", "enter", "4", "e", "x", "c", "escape", "m"):
            await pilot.press(key)
            await asyncio.wrap_future(engine.lookup(int))
            await pilot.pause()
        assert not app._told, app._told
    engine.shutdown()

asyncio.run(look())
"""


def test_the_open_screen_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    assert heavy(loaded_by(OPENED, tmp_path)) == set()
