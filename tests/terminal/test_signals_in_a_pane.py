"""A kill, a dropped line, Ctrl+C, Ctrl+Z: the work is saved, the terminal is as it was."""

from __future__ import annotations

import signal

import psutil
import pytest

pytestmark = pytest.mark.terminal


@pytest.fixture
def training(pane, long_run, files):
    """A pane with a run that has come some steps far: the pane, the run, the process, the tty."""
    tmux = pane(120, 40)
    tty = tmux.settings_of_tty()
    tmux.open()
    tmux.keys("t")
    files.wait(
        lambda: files.runs(tmux.folder) and len(files.logged(files.runs(tmux.folder)[0])) > 5
    )
    (run,) = files.runs(tmux.folder)
    return tmux, run, tmux.process(), tty


def saved(files, run) -> None:
    """One checkpoint, complete, at the last step that was logged."""
    assert files.complete(run) == [files.logged(run)[-1]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_and_restores(training, files, number) -> None:
    tmux, run, process, tty = training
    process.send_signal(number)
    process.wait(60)
    assert tmux.last_status() == 128 + number
    tmux.assert_as_before(tty)
    saved(files, run)


def test_a_dropped_line_saves(training, files) -> None:
    tmux, run, process, _tty = training
    tmux.kill_server()
    process.wait(60)
    saved(files, run)


def test_ctrl_c_asks_and_then_saves_and_leaves(training, files) -> None:
    tmux, run, process, tty = training
    tmux.keys("C-c")
    tmux.wait_for("A job is running")
    logged = files.logged(run)
    tmux.keys("Escape")
    tmux.wait_for(lambda seen: "A job is running" not in seen)
    files.wait(lambda: files.logged(run) != logged)  # nothing happened to the run
    tmux.keys("C-c")
    tmux.wait_for("A job is running")
    tmux.keys("q")
    process.wait(60)
    assert tmux.last_status() == 0
    tmux.assert_as_before(tty)
    saved(files, run)


def test_ctrl_z_asks_and_fg_brings_the_whole_screen_back(training, files) -> None:
    tmux, run, process, tty = training
    shown = fixed(tmux.capture())
    tmux.keys("C-z")
    tmux.wait_for("Put the program to sleep?")
    tmux.keys("z")
    tmux.assert_as_before(tty)
    assert process.status() == psutil.STATUS_STOPPED
    logged = files.logged(run)
    tmux.line("echo asleep")
    tmux.wait_for("asleep")
    assert files.logged(run) == logged, "training sleeps too"

    tmux.line("fg")
    seen = tmux.wait_for(lambda now: fixed(now) == shown)
    assert "asleep" not in seen
    assert tmux.state("alternate_on") == "1" and tmux.state("cursor_flag") == "0"
    files.wait(lambda: files.logged(run) != logged)
    tmux.keys("s")
    tmux.wait_for("■ stopped")
    saved(files, run)
    tmux.keys("q")
    tmux.assert_as_before(tty)


def fixed(seen: str) -> list[str]:
    """The rail but for its list of runs, and every row's frame: what a tick does not change."""
    rows = seen.split("\n")
    names = [row[:32] for row in rows[1:29]]
    frames = [row[32:33] + row[119:120] for row in rows[1:39]]
    return [*names, *frames, rows[39]]
