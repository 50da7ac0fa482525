"""A real Textual app in a pseudo-terminal: the same screen as with Textual's own driver."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from pathlib import Path

import pytest

APP = '''
import os, sys
from textual.app import App
from textual.containers import Horizontal
from textual.widgets import Input, Label, ProgressBar, Static
from rich.text import Text
from textual.theme import Theme

DRIVER = os.environ.get("DRIVER")
if DRIVER:
    from tui.terminal import redirect_output, release_terminal, restore, take_terminal
    from tui.terminal.driver import FinetuiDriver
    take_terminal()
    redirect_output(os.environ["LOG"])
else:
    FinetuiDriver = None

class Demo(App):
    CSS = """
    Screen { layers: base top; background: ansi_default; }
    Static { border: round ansi_blue; width: 1fr; height: 8; }
    #b { border: heavy #a03070; }
    #top { layer: top; offset: 13 4; width: 20; height: 5; background: #204060; display: none; }
    """
    BINDINGS = [("ctrl+l", "repaint"), ("ctrl+z", "suspend_process")]
    ticks = 0

    def compose(self):
        yield Label(" finetui · 微调 [b]x[/b] ", markup=False)
        with Horizontal():
            yield Static("", id="a")
            yield Static("", id="b")
        yield ProgressBar(total=40, show_eta=False)
        field = Input("你好 learning rate", id="input")
        field.cursor_blink = False  # nobody knows which half of a blink is the last
        yield field
        yield Static("on top 你你你", id="top")

    def on_mount(self):
        self.set_interval(0.02, self.tick)

    def on_resize(self, event):
        with open(os.environ["LOG"] + ".sizes", "a") as sizes:
            print(*event.size, file=sizes)

    def tick(self):
        self.ticks += 1
        n = min(self.ticks, 40)
        if DRIVER:
            with open(os.environ["LOG"] + ".ticks", "w") as ticks:
                ticks.write(str(self.ticks))
        if self.ticks > 40 and not os.environ.get("FOREVER"):
            return
        if os.environ.get("FOREVER"):
            n = self.ticks
        text = Text()
        for i in range(6):
            text.append(f"{n * i:>4} ", style=f"rgb({(n * 5) % 256},{i * 30},90)")
            word = "损失" if (n + i) % 3 else "loss"
            text.append(word, style="bold italic" if i % 2 else "reverse")
            text.append("─" * ((n + i) % 9) + "█▌", style="red on rgb(0,40,10)")
            text.append("\\n")
        self.query_one("#a", Static).update(text)
        self.query_one("#b", Static).update(("⣿⠁⢀ 机" * (n % 7 + 1)))
        self.query_one(ProgressBar).progress = min(n, 40)
        self.query_one("#top").display = 10 < n < 35 or n % 2 == 1
        print("noise from print", flush=True)
        os.write(1, b"noise from C\\n")
        if n == 40 and not os.environ.get("FOREVER"):
            self.query_one(Label).update("all done")

    def action_repaint(self):
        self._driver.repaint()

    def key_f2(self):
        self.exit()

    def on_key(self, event):
        if event.key == "f2":
            self.exit()

app = Demo(driver_class=FinetuiDriver)
app.run()
if DRIVER:
    release_terminal()
    restore()
    driver = app._driver
    print("sent", driver.bytes_sent, driver.frames)
'''
F2 = "\x1bOQ"


@pytest.fixture
def start(run_in_pty, tmp_path):
    def begin(columns: int = 80, lines: int = 24, **environ: str):
        return run_in_pty(APP, columns, lines, LOG=str(tmp_path / "log"), **environ)

    return begin


@pytest.mark.parametrize("size", [(80, 24), (121, 31)])
def test_the_screen_is_the_same_as_with_textuals_driver(start, size, tmp_path) -> None:
    plain = start(*size, TEXTUAL_COLOR_SYSTEM="truecolor")
    ours = start(*size, DRIVER="1")
    for child in (plain, ours):
        child.wait_for("all done")
        child.settle()
    assert ours.screen.looks() == plain.screen.looks()
    before = len(ours.screen.raw)
    ours.send("\x0c")  # Ctrl+L
    ours.wait_for(lambda: len(ours.screen.raw) > before)
    ours.settle()
    assert ours.screen.looks() == plain.screen.looks()
    for child in (plain, ours):
        child.send(F2)
        assert child.finish() == 0
    assert len(ours.screen.raw) < len(plain.screen.raw)
    assert termios.tcgetattr(ours.slave) == ours.attributes
    # The line discipline makes two bytes of a line feed.
    sent, _, said = ours.screen.raw.replace(b"\r\r\n", b"\r\n").partition(b"sent ")
    assert int(said.split()[0]) == len(sent) and int(said.split()[1]) > 0
    # What was printed went to the log, and nowhere else.
    assert b"noise" not in ours.screen.raw
    log = (tmp_path / "log").read_text()
    assert "noise from C" in log and "noise from print" in log


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"FINETUI_COLORS": "truecolor"}, r"[34]8;2;\d+;\d+;\d+"),
        ({"FINETUI_COLORS": "256"}, r"[34]8;5;\d+|3\d|4\d|9\d|10\d"),
        ({"FINETUI_COLORS": "16"}, r"3\d|4\d|9\d|10\d"),
        ({"NO_COLOR": "1"}, None),
    ],
)
def test_colours_are_of_the_terminals_depth(start, environ, colour) -> None:
    child = start(DRIVER="1", **environ)
    child.wait_for("all done")
    styles = set(re.findall(rb"\x1b\[([\d;]*)m", child.screen.raw))
    plain = r"|2?\d|39|49"  # attributes on and off, and the default colours
    allowed = rf"{colour}|{plain}" if colour else plain
    if environ == {"FINETUI_COLORS": "truecolor"}:
        allowed += r"|3\d|4\d|9\d|10\d"  # ANSI colours stay what they are
    for style in styles:
        assert re.fullmatch(rf"(?:(?:{allowed})(?:;|$))*", style.decode()), style
    if colour:
        assert any(re.search(rf"(?:^|;)(?:{colour})(?:;|$)", style.decode()) for style in styles)


def test_ascii_alone_reaches_a_terminal_without_utf8(start) -> None:
    child = start(DRIVER="1", LC_ALL="C")
    child.wait_for("all done")
    child.settle()
    assert child.screen.raw.isascii()
    assert "+---" in child.screen.text() and "??" in child.screen.text()


def test_a_terminal_that_does_not_drain_stops_nothing(start, tmp_path) -> None:
    child = start(DRIVER="1", FOREVER="1")
    child.wait_for("finetui")
    ticks = tmp_path / "log.ticks"

    def count() -> int:
        text = ticks.read_text() if ticks.exists() else ""
        return int(text or 0)

    # Nobody reads: the app goes on, far past what a queue and a pty's buffer hold.
    aim, end = count() + 150, time.monotonic() + 60
    while count() < aim:
        assert time.monotonic() < end, "the event loop waits for the terminal"
        time.sleep(0.1)
    seen = len(child.screen.raw)
    child.send(F2)
    assert child.finish() == 0
    assert child.screen.raw[seen:].count(b"\x1b[?1049l") == 1
    assert termios.tcgetattr(child.slave) == child.attributes


def test_a_burst_of_resizes_is_one_resize(start, tmp_path) -> None:
    child = start(DRIVER="1")
    child.wait_for("all done")
    for columns in range(79, 59, -1):
        child.resize(columns, 20)
        time.sleep(0.004)
    sizes = tmp_path / "log.sizes"
    child.wait_for(lambda: sizes.read_text().endswith("60 20\n"))
    child.settle()
    assert len(set(sizes.read_text().split("\n"))) <= 5  # the first, the last, few in between
    assert "all done" in child.screen.text()
    right = [child.screen.buffer[y][59].data for y in range(20)]
    assert "┓" in right and "┛" in right


def test_the_screen_is_whole_after_stopping_and_going_on(start) -> None:
    child = start(DRIVER="1")
    child.wait_for("all done")
    child.settle()
    before = child.screen.looks()
    child.send("\x1a")  # Ctrl+Z

    def stopped() -> bool:
        pid, status = os.waitpid(child.process.pid, os.WNOHANG | os.WUNTRACED)
        return pid != 0 and os.WIFSTOPPED(status)

    child.wait_for(stopped)
    child.settle()
    assert b"\x1b[?1049l" in child.screen.raw
    assert termios.tcgetattr(child.slave) == child.attributes
    child.screen.reset()
    child.screen.feed("the shell was here")
    os.kill(child.process.pid, signal.SIGCONT)
    child.wait_for("all done")
    child.settle()
    assert child.screen.looks() == before
    # A plain SIGSTOP leaves no time for leaving: the screen is sent again all the same.
    os.kill(child.process.pid, signal.SIGSTOP)
    child.wait_for(stopped)
    child.settle()
    child.screen.reset()
    os.kill(child.process.pid, signal.SIGCONT)
    child.wait_for("all done")
    child.settle()
    assert child.screen.looks() == before
    child.send(F2)
    assert child.finish() == 0
    assert termios.tcgetattr(child.slave) == child.attributes


def test_textuals_captures_are_where_the_driver_expects_them() -> None:
    # The seam: print() on the screen goes through these, and so to the log.
    from textual import app

    source = Path(app.__file__).read_text()
    assert "with redirect_stdout(self._capture_stdout):" in source
    assert "with redirect_stderr(self._capture_stderr):" in source


def test_textuals_writer_thread_is_never_started() -> None:
    # The seam: if Textual renames the attribute, its own thread would write to the terminal.
    from textual.drivers import linux_driver

    source = Path(linux_driver.__file__).read_text()
    assert "self._writer_thread = WriterThread(self._file)" in source
    assert "self._writer_thread.start()" in source
    assert "self._writer_thread.write(data)" in source
    assert "self._writer_thread.stop()" in source
