"""The writer thread: nothing waits for a terminal that does not drain; the latest frame wins."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty

import pytest

from tui.terminal.colours import ColourRegistry, Colours, Depth
from tui.terminal.model import ScreenModel
from tui.terminal.output import Output
from tui.terminal.styles import Styles

WIDTH, HEIGHT = 80, 24


@pytest.fixture(params=["non-blocking", "blocking"])
def line(request):
    """A pty nobody reads: (master, slave)."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    if request.param == "non-blocking":
        private = os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.close(slave)
        slave = private
    yield master, slave
    os.close(master)
    os.close(slave)


def _output(fd: int, **options) -> Output:
    model = ScreenModel(WIDTH, HEIGHT, Styles(Colours(Depth.TRUE, ColourRegistry())))
    output = Output(fd, model, **options)
    output.start()
    output.write("\x1b[?1049h\x1b[?7l")
    return output


def _frame(number: int) -> str:
    rows = (
        f"\x1b[{y + 1};1H\x1b[38;2;{number % 256};{y};9m{f'{number}:{y} ' * 12:.{WIDTH}}\x1b[0m"
        for y in range(HEIGHT)
    )
    return "".join(rows) + "\x1b[1;1H"


def _drain(master: int, output: Output, screen) -> None:
    while not output.settled or select.select([master], [], [], 0.3)[0]:
        if select.select([master], [], [], 0.1)[0]:
            screen.feed_bytes(os.read(master, 65536))


def test_frames_in_between_are_dropped_on_a_dead_line(line, emulator) -> None:
    master, slave = line
    output = _output(slave)
    everything = 0
    for number in range(400):  # a queue that blocks would stop here, and the test would time out
        frame = _frame(number)
        everything += len(frame)
        output.write(frame)
    output.write("\x07")
    assert not output.settled
    screen, raw = emulator(WIDTH, HEIGHT), emulator(WIDTH, HEIGHT)
    _drain(master, output, screen)
    raw.feed(_frame(399))
    assert screen.looks() == raw.looks()
    assert screen.raw.count(b"\x07") == 1
    assert output.bytes_sent == len(screen.raw) < everything / 20
    output.stop()


def test_stopping_on_a_dead_line_gives_up(line) -> None:
    _master, slave = line
    output = _output(slave)
    output.write(_frame(0))
    output.write("\x1b[?1049l" + "\x1b]0;title\x07" * 20_000)
    output.stop(timeout=0.2)
    assert output._thread is not None
    output._thread.join(20)
    assert not output._thread.is_alive()


def test_a_started_again_output_repaints(line, emulator) -> None:
    master, slave = line
    output = _output(slave)
    output.write("\x1b[Hhello\x1b[H")
    output.write("\x1b[?1049l")
    output.stop()
    os.read(master, 65536)
    screen = emulator(WIDTH, HEIGHT)
    output.start()
    output.write("\x1b[?1049h")
    _drain(master, output, screen)
    assert screen.display[0].startswith("hello")
    output.stop()


def test_held_cells_wait_for_the_new_size(line, emulator) -> None:
    master, slave = line
    output = _output(slave)
    screen = emulator(WIDTH, HEIGHT)
    _drain(master, output, screen)
    output.hold()
    output.write("\x1b[20;1Hfar below\x1b[H")
    _drain(master, output, screen)
    assert "far below" not in screen.text()
    output.resize(40, 10)
    output.write("\x1b[10;1Hbottom\x1b[H")
    _drain(master, output, screen)
    assert screen.display[9].startswith("bottom") and "far below" not in screen.text()
    output.stop()


def test_a_big_frame_is_sent_as_one_synchronised_update(line, emulator) -> None:
    master, slave = line
    output = _output(slave)
    screen = emulator(WIDTH, HEIGHT)
    _drain(master, output, screen)
    screen.raw = b""
    output.write("\x1b[?2026h")
    output.write(_frame(1))
    assert screen.raw == b""
    output.write("\x1b[?2026l")
    _drain(master, output, screen)
    assert screen.raw.startswith(b"\x1b[?2026h") and screen.raw.endswith(b"\x1b[?2026l")
    output.stop()


def test_a_line_that_is_gone_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = _output(writer)
    assert output._thread is not None
    output._thread.join(20)
    assert not output._thread.is_alive()
    output.write("\x1b]0;title\x07")
    assert not output.model.has_passed  # kept for nobody
    output.stop()
    os.close(writer)


def test_the_trace_holds_every_byte_sent(line, emulator, tmp_path) -> None:
    master, slave = line
    output = _output(slave, trace=str(tmp_path / "trace"))
    screen = emulator(WIDTH, HEIGHT)
    threading.Thread(target=output.write, args=(_frame(5),)).start()
    output.write("\x07")
    _drain(master, output, screen)
    output.stop()
    assert (tmp_path / "trace").read_bytes() == screen.raw
    assert output.bytes_sent == len(screen.raw) and output.frames > 0
