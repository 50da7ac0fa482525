"""Train, talk, export, score, look at the run: by keys alone, in a real pane."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.terminal


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_the_whole_path(pane, remember, files, size) -> None:
    narrow = size == (80, 24)
    remember(max_steps=8)
    tmux = pane(*size)
    before = tmux.settings_of_tty()
    tmux.open()

    tmux.keys("t")
    tmux.wait_for("● training")
    seen = tmux.wait_for("✓ done")
    assert any("⠀" < char <= "⣿" for char in seen), "the loss is drawn in braille dots"
    (run,) = files.runs(tmux.folder)
    assert files.logged(run) == list(range(1, 9))
    assert files.complete(run) == [8]

    tmux.keys("c")
    tmux.wait_for(f"Chat with  {run.name}")
    tmux.type("Who are you?")
    tmux.wait_for("> Who are you?")
    tmux.keys("Enter")
    seen = tmux.wait_for("tok/s · first after")
    assert "you" in seen and "Who are you?" in seen

    tmux.keys("Escape")
    tmux.wait_for(lambda now: "Enter send" not in now)
    tmux.keys("x")
    tmux.wait_for(f"exports/{run.name}")
    tmux.keys("g")
    tmux.wait_for("Load it in Python")
    exported = tmux.folder / "exports" / run.name
    assert (exported / "config.json").is_file() and (exported / "Modelfile").is_file()
    assert list(exported.glob("*.safetensors"))

    tmux.keys("e")
    tmux.wait_for("Nothing is scored yet")
    tmux.keys("g")
    seen = tmux.wait_for(lambda now: re.search(r"perplexity +\d", now), 60)
    assert re.search(r"accuracy +\d", seen)

    tmux.keys("4")
    seen = tmux.wait_for(f"✓ {run.name}")
    if narrow:
        tmux.keys("Enter")
        tmux.wait_for("smoothed")
    tmux.keys("q")
    tmux.assert_as_before(before)
    remembered = json.loads(
        (tmux.folder.parent / "state" / "screen.json").read_text(encoding="utf-8")
    )
    assert remembered["form"]["max_steps"] == 8


@pytest.mark.slow
def test_the_demo_model_trains(pane, remember, files) -> None:
    """What `t` does on the first start, three steps of it; pip brings the model if need be."""
    remember(model_name_or_path="demo", max_steps=3, learning_rate=1e-3)
    tmux = pane(80, 24, OMP_NUM_THREADS=str(os.cpu_count() or 1))
    tmux.open()
    tmux.keys("t")
    tmux.wait_for("✓ done", 240)
    (run,) = files.runs(tmux.folder)
    assert files.complete(run) == [3]


@pytest.mark.slow
def test_nothing_a_library_says_reaches_the_terminal(pane, remember, files) -> None:
    remember(max_steps=30)
    tmux = pane(120, 40, PYTHONWARNINGS="always", TRANSFORMERS_VERBOSITY="info")
    tmux.open()
    tmux.keys("t")
    noise = ("Warning", "warnings.warn", "it/s]", "Traceback", "site-packages")
    while "✓ done" not in (seen := tmux.capture()):
        assert not [word for word in noise if word in seen], seen
        assert "✗ failed" not in seen
    (run,) = files.runs(tmux.folder)
    log = (run / "library.log").read_text(encoding="utf-8")
    program = (tmux.folder.parent / "state" / "finetui.log").read_text(encoding="utf-8")
    assert "Warning" in log + program, "there was something to keep away"
    # A foreign line would have scrolled or overwritten cells that the screen takes for drawn.
    tmux.keys("3")
    tmux.wait_for("Learning rate")
    shown = _still(tmux.capture())
    tmux.keys("C-l")
    tmux.wait_for(lambda now: _still(now) == shown)


def _still(seen: str) -> list[str]:
    """The rows without what changes by itself: the rail's ages of runs."""
    return [row for row in seen.split("\n") if "sft-" not in row]


def test_stop_then_go_on_from_the_list_of_runs(pane, remember, files) -> None:
    remember(max_steps=400, save_steps=500)
    tmux = pane(120, 40)
    tmux.open()
    tmux.keys("t")
    tmux.wait_for("● training")
    files.wait(lambda: len(files.logged(files.runs(tmux.folder)[0])) > 5)
    tmux.keys("s")
    tmux.wait_for("■ stopped")
    (run,) = files.runs(tmux.folder)
    (step,) = files.complete(run)
    assert 5 < step < 400
    losses = _losses(run)

    tmux.keys("4")
    tmux.wait_for("r resume")
    tmux.keys("r")
    tmux.wait_for(f"Resume {run.name} from")
    tmux.keys("Enter")
    tmux.wait_for("✓ done")
    assert files.runs(tmux.folder) == [run]
    assert files.complete(run)[-1] == 400
    assert files.logged(run) == list(range(1, 401))
    assert _losses(run)[:step] == losses[:step], "what was trained before is kept"


def _losses(run: Path) -> list[float]:
    rows = (run / "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, rows) if "loss" in row]


def test_pause_holds_the_run_and_space_goes_on(pane, long_run, files) -> None:
    tmux = pane(120, 40)
    tmux.open()
    tmux.keys("t")
    tmux.wait_for("● training")
    tmux.keys("Space")
    tmux.wait_for("paused")
    (run,) = files.runs(tmux.folder)
    held = files.logged(run)
    tmux.keys("Tab")  # the screen stays alive
    tmux.keys("Tab")
    assert files.logged(run) == held
    tmux.keys("Space")
    files.wait(lambda: files.logged(run) != held)
    tmux.keys("s")
    tmux.wait_for("■ stopped")
