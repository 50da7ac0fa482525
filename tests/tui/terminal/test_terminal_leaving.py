"""Signals end in a saved run and a terminal left as it was, whatever the event loop does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

APP = """
import os, sys, threading, time
from textual.app import App
from textual.widgets import Label
from tui.terminal import LeaveGuard, redirect_output, release_terminal, restore, take_terminal
from tui.terminal.driver import FinetuiDriver

LOG = os.environ["LOG"]
take_terminal()
redirect_output(LOG)

def save(name):
    with open(LOG + ".saved", "a") as saved:
        print("begin", name, file=saved, flush=True)
        time.sleep(float(os.environ.get("SAVE_TAKES", "0")))
        print("end", name, file=saved, flush=True)
    if os.environ.get("SAVE_FAILS"):
        raise OSError("disk full")

guard = LeaveGuard(save, deadline=float(os.environ.get("DEADLINE", "60")))
guard.install()

class Demo(App):
    def compose(self):
        yield Label("ready")
    def on_mount(self):
        if os.environ.get("STUCK"):
            self.set_timer(0.5, lambda: threading.Event().wait() if not self.refresh() else None)
        if os.environ.get("FORK"):
            self.set_timer(0.2, self.fork)
    def fork(self):
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(3)
        os.kill(pid, 15)
        status = os.waitpid(pid, 0)[1]
        self.query_one(Label).update(f"child ended by {os.WTERMSIG(status)}")
    def on_key(self, event):
        if event.key == "q":
            self.exit()

try:
    Demo(driver_class=FinetuiDriver).run()
finally:
    guard.uninstall()
    release_terminal()
    restore()
print("goodbye")
"""


@pytest.fixture
def start(run_in_pty, tmp_path):
    def begin(text: str = "ready", **environ: str):
        child = run_in_pty(APP, LOG=str(tmp_path / "log"), **environ)
        child.saved = Path(tmp_path / "log.saved")
        child.wait_for(text)
        child.settle()
        return child

    return begin


def _left_as_it_was(child) -> None:
    raw = child.screen.raw
    assert b"\x1b[?1049l" in raw and raw.rfind(b"\x1b[?25h") > raw.rfind(b"\x1b[?25l")
    for mode in (b"1000", b"1003", b"1006", b"2004", b"1004"):
        assert raw.rfind(b"\x1b[?" + mode + b"l") > raw.rfind(b"\x1b[?" + mode + b"h")
    assert raw.rfind(b"\x1b[?7h") > raw.rfind(b"\x1b[?7l")
    assert raw.rfind(b"\x1b[<u") > raw.rfind(b"\x1b[>")
    assert termios.tcgetattr(child.slave) == child.attributes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("stuck", ["", "1"])
def test_a_signal_saves_and_restores(start, number, stuck) -> None:
    child = start(STUCK=stuck)
    assert termios.tcgetattr(child.slave) != child.attributes
    child.process.send_signal(number)
    assert child.finish() == 128 + number
    assert child.saved.read_text() == f"begin {number.name}\nend {number.name}\n"
    _left_as_it_was(child)


def test_a_second_signal_does_not_kill_the_save(start) -> None:
    child = start(SAVE_TAKES="1.5")
    child.process.send_signal(signal.SIGTERM)
    child.wait_for(child.saved.exists)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        child.process.send_signal(number)
        time.sleep(0.1)
    assert child.finish() == 128 + signal.SIGTERM
    assert child.saved.read_text() == "begin SIGTERM\nend SIGTERM\n"
    _left_as_it_was(child)


def test_a_save_that_never_ends_meets_its_deadline(start) -> None:
    child = start(SAVE_TAKES="600", DEADLINE="1")
    child.process.send_signal(signal.SIGHUP)
    assert child.finish() == 128 + signal.SIGHUP
    assert child.saved.read_text() == "begin SIGHUP\n"
    _left_as_it_was(child)


def test_a_save_that_fails_is_logged_and_the_terminal_restored(start, tmp_path) -> None:
    child = start(SAVE_FAILS="1")
    child.process.send_signal(signal.SIGTERM)
    assert child.finish() == 128 + signal.SIGTERM
    assert "disk full" in (tmp_path / "log").read_text()
    assert b"disk full" not in child.screen.raw
    _left_as_it_was(child)


def test_a_line_that_hung_up_saves(start) -> None:
    child = start()
    master, child.master = child.master, os.open(os.devnull, os.O_RDONLY)
    os.close(child.slave)
    child.slave = os.open(os.devnull, os.O_RDONLY)
    os.close(master)  # the kernel sends SIGHUP to the session's leader
    assert child.process.wait(30) == 128 + signal.SIGHUP
    assert child.saved.read_text() == "begin SIGHUP\nend SIGHUP\n"


def test_a_forked_childs_signals_are_its_own(start) -> None:
    child = start("child ended by 15", FORK="1")
    assert not child.saved.exists()
    child.send("q")
    assert child.finish() == 0


def test_quitting_leaves_the_terminal_as_it_was_and_says_goodbye(start) -> None:
    child = start()
    child.send("q")
    assert child.finish() == 0
    assert child.screen.raw.count(b"\x1b[?1049l") == 1
    assert child.screen.raw.endswith(b"goodbye\r\n")
    assert not child.saved.exists()
    _left_as_it_was(child)


def test_uninstalling_gives_the_signals_back() -> None:
    script = """
import signal
from tui.terminal import LeaveGuard
before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
guard = LeaveGuard(print)
guard.install()
try:
    LeaveGuard(print).install()
except RuntimeError as error:
    print(error)
guard.uninstall()
guard.uninstall()
after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
assert before == after and signal.set_wakeup_fd(-1) == -1
guard = LeaveGuard(print)
guard.install()
guard.uninstall()
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "another LeaveGuard is installed\n"
