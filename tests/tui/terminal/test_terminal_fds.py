"""Descriptors 1 and 2 lead to the log while the screen is up; the screen has its own way out."""

from __future__ import annotations

import pytest

SCRIPT = """
import os, subprocess, sys, warnings
from tui.terminal import fds

terminal = fds.take_terminal()
assert fds.take_terminal() is terminal
print("before")
sys.stdout.write("still buffered, but the terminal's\\n")
fds.redirect_output(os.environ["LOG"])
print("print")
warnings.warn("warning")
os.write(1, b"descriptor 1\\n")
os.write(2, b"descriptor 2\\n")
subprocess.run(["echo", "a child"], check=True)
from tqdm import tqdm
list(tqdm(range(3), desc="bar"))
os.write(terminal.fileno(), b"the screen\\n")
assert terminal.size() == (80, 24)
assert not os.get_inheritable(terminal.fileno())
assert os.get_blocking(0) and not os.get_blocking(terminal.fileno())
fds.redirect_output(os.environ["LOG"] + ".2")
print("second log")
fds.restore()
fds.restore()
fds.restore_terminal()
fds.release_terminal()
fds.release_terminal()
print("after")
os.write(2, b"after, descriptor 2\\n")
"""


def test_only_the_screen_reaches_the_terminal(run_in_pty, tmp_path) -> None:
    child = run_in_pty(SCRIPT, LOG=str(tmp_path / "log"))
    assert child.finish() == 0, child.screen.text()
    assert child.screen.raw.decode().split("\r\n") == [
        "before",
        "still buffered, but the terminal's",
        "the screen",
        "after",
        "after, descriptor 2",
        "",
    ]
    log = (tmp_path / "log").read_text()
    for line in ("print", "warning", "descriptor 1", "descriptor 2", "a child", "bar: 100%"):
        assert line in log
    assert (tmp_path / "log.2").read_text() == "second log\n"


def test_the_terminal_layer_imports_neither_engine_nor_torch(run_in_pty) -> None:
    child = run_in_pty(
        "import sys, tui.terminal.driver\n"
        "print(sorted({'engine', 'torch', 'numpy', 'textual.widgets'} & set(sys.modules)))"
    )
    assert child.finish() == 0
    assert child.screen.raw == b"[]\r\n"


def test_without_a_terminal_a_sentence_says_so(tmp_path) -> None:
    import subprocess
    import sys
    from pathlib import Path

    done = subprocess.run(
        [sys.executable, "-c", "from tui.terminal import take_terminal; take_terminal()"],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert "no terminal" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("repeated", [1, 3])
def test_restoring_twice_leaves_once(run_in_pty, repeated: int) -> None:
    child = run_in_pty(
        "from tui.terminal import take_terminal, restore_terminal\n"
        "take_terminal().entered = True\n"
        f"for _ in range({repeated}): restore_terminal()\n"
    )
    assert child.finish() == 0
    assert child.screen.raw.count(b"\x1b[?1049l") == 1
