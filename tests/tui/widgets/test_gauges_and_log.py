"""The panels "machine", "also watched" and "log", compared with the drawn pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tui.widgets.gauge import GaugeRow, Machine, Watched, WatchRow, gauge_bar
from tui.widgets.log_lines import LogLine, LogPanel

Fixture = Callable[..., Any]
NAN = math.nan


def test_a_gauge_bar() -> None:
    assert gauge_bar(0.125, 2) == "▕▎ ▏"
    assert gauge_bar(1, 3) == "▕███▏"
    assert gauge_bar(0, 3) == "▕   ▏"
    assert gauge_bar(0.001, 3) == "▕▏  ▏"
    assert gauge_bar(0.999, 3) == "▕██▉▏"
    assert gauge_bar(7, 2) == "▕██▏"
    assert gauge_bar(None, 2) == gauge_bar(NAN, 2) == gauge_bar(-1, 2) == "▕  ▏"


GPU = GaugeRow("GPU 0", 0.825, ("61.2/80 GB", "640/700 W", "71 °C", "MFU 46 %"))
CPU = GaugeRow("CPU", 0.3875, ("2 cores",), (0.0, 0.2, 0.3, 0.5), short="CPU 41 %")
RAM = GaugeRow("RAM", 0.1125, ("2.8/23 GB", "disk 80 GB free"), short="RAM 2.8/23 GB")


def without_percent(line: str) -> str:
    return line[:31] + line[37:]


async def test_the_machine_of_the_picture(
    stage: Fixture, picture: Fixture, settle: Fixture
) -> None:
    target = [line[32:] for line in picture("Training, 120×40")[25:30]]
    machine = Machine()
    app = stage(machine, 88, 5)
    async with app.run_test(size=(100, 30)) as pilot:
        machine.update([GPU, CPU, RAM])
        await settle(pilot)
        lines = machine.picture_lines()
        assert lines[0] == target[0]
        assert lines[4] == target[4]
        # The drawn bars and their percent are not of one value: the bars are compared.
        assert without_percent(lines[1]) == without_percent(target[1])
        assert without_percent(lines[2])[:46] == without_percent(target[2])[:46]
        assert without_percent(lines[3]) == without_percent(target[3])


async def test_the_machine_in_one_line(stage: Fixture, picture: Fixture, settle: Fixture) -> None:
    target = picture("Training, 80×24")[19]
    machine = Machine()
    app = stage(machine, 80, 1)
    async with app.run_test(size=(100, 30)) as pilot:
        machine.update([GaugeRow("GPU 0", 0.83, GPU.texts), CPU, RAM])
        await settle(pilot)
        assert machine.picture_lines() == [target]


async def test_a_missing_reading_and_a_near_limit(
    stage: Fixture, refreshes: Fixture, settle: Fixture
) -> None:
    machine = Machine()
    app = stage(machine, 60, 4)
    async with app.run_test(size=(100, 30)) as pilot:
        machine.update([GaugeRow("GPU 0", None, ("–",)), GaugeRow("RAM", 0.97, near_limit=True)])
        await settle(pilot)
        assert "▏     –" in machine.picture_lines()[1]
        assert "warning" not in {role for _, role in machine.content_line(0, 58)}
        assert "warning" in {role for _, role in machine.content_line(1, 58)}
        calls = refreshes(machine)
        machine.update([GaugeRow("GPU 0", None, ("–",)), GaugeRow("RAM", 0.97, near_limit=True)])
        assert calls == []
        machine.update([GaugeRow("GPU 0", None, ("–",)), GaugeRow("RAM", 0.98, near_limit=True)])
        assert [region.y for regions in calls for region in regions] == [2]


async def test_also_watched_of_the_picture(
    stage: Fixture, picture: Fixture, settle: Fixture
) -> None:
    target = [line[32:] for line in picture("Training, 120×40")[21:25]]
    watched = Watched()
    app = stage(watched, 88, 4)
    async with app.run_test(size=(100, 30)) as pilot:
        watched.update(
            [WatchRow("learning rate", "4.1e-4", (0.0, 1.0)), WatchRow("gradient norm", "0.7")]
        )
        await settle(pilot)
        lines = watched.picture_lines()
        assert lines[0] == target[0]
        assert lines[1][:28] == target[1][:28] == lines[1][:27] + "▁"
        assert lines[2][:27] == target[2][:27]
        assert lines[3] == target[3]


async def test_also_watched_in_one_line(stage: Fixture, settle: Fixture) -> None:
    watched = Watched()
    app = stage(watched, 80, 1)
    async with app.run_test(size=(100, 30)) as pilot:
        values = tuple(float(number) for number in range(40))
        watched.update(
            [
                WatchRow("learning rate", "4.1e-4", values, 0.5, "rate"),
                WatchRow("gradient norm", "0.7", values, 0.5, "grad norm"),
                WatchRow("speed", "412 tok/s", values, 0.5, ""),
            ]
        )
        await settle(pilot)
        (line,) = watched.picture_lines()
        assert line.startswith(" rate 4.1e-4 ▁")
        assert "   grad norm 0.7 ▁" in line
        assert "   412 tok/s ▁" in line
        # Each takes its whole room, whatever the progress.
        assert line.count("▇██   ") == 3


async def test_the_log_of_the_picture(stage: Fixture, picture: Fixture, settle: Fixture) -> None:
    target = [line[32:] for line in picture("Training, 120×40")[30:39]]
    log = LogPanel()
    app = stage(log, 88, 9)
    async with app.run_test(size=(100, 30)) as pilot:
        drawn = [line.strip("│ ") for line in target[1:6]]
        log.set_lines(LogLine("13:00:00", "info", f"old {number}") for number in range(43))
        log.add(LogLine(line[:8], "info", line[10:]) for line in reversed(drawn))
        await settle(pilot)
        lines = log.picture_lines()
        assert lines[0] == target[0]
        assert lines[1:6] == target[1:6]
        assert lines[6].startswith("│ 13:00:00  old 42")


async def test_the_log_scrolls_and_stays_while_it_is_read(stage: Fixture, settle: Fixture) -> None:
    log = LogPanel(limit=50)
    app = stage(log, 40, 5)
    async with app.run_test(size=(60, 20)) as pilot:
        log.add(LogLine("12:00:00", "info", f"line {number}") for number in range(60))
        log.focus()
        await settle(pilot)
        assert "50 lines" in log.picture_lines()[0]
        assert "line 59" in log.picture_lines()[1]
        await pilot.press("down", "down")
        assert "line 57" in log.picture_lines()[1]
        log.add([LogLine("12:00:01", "error", "new\x1b[31m")])
        assert "line 57" in log.picture_lines()[1]
        await pilot.press("home")
        assert "new␛[31m" in log.picture_lines()[1]
        await pilot.press("end")
        assert "line 11" in log.picture_lines()[3]
        await pilot.press("pageup")
        assert "line 13" in log.picture_lines()[3]


async def test_the_log_without_a_frame(stage: Fixture, picture: Fixture, settle: Fixture) -> None:
    target = picture("Training, 80×24")[20:22]
    log = LogPanel(border="rule")
    app = stage(log, 80, 3)
    async with app.run_test(size=(100, 20)) as pilot:
        log.add([LogLine("14:06:31", "info", "checkpoint-350 saved (4.1 MB in 0.3 s)")])
        await settle(pilot)
        assert log.picture_lines()[:2] == target


async def machine_lines(stage: Fixture, settle: Fixture, width: int) -> list[str]:
    """The panel of the machine as it is drawn in so many cells."""
    machine = Machine()
    app = stage(machine, width, 4)
    rows = [
        GaugeRow("CPU", 1.0, ("2 cores",), spark=(0.5, 1.0) * 12),
        GaugeRow("RAM", 0.11, ("2.7/24 GB", "disk 76.4 GB free")),
    ]
    async with app.run_test(size=(100, 30)) as pilot:
        machine.update(rows)
        await settle(pilot)
        return machine.picture_lines()


async def test_bars_give_way_before_a_reading_is_cut(stage: Fixture, settle: Fixture) -> None:
    lines = await machine_lines(stage, settle, 64)
    assert "disk 76.4 GB free" in lines[2]
    assert lines[1].index("▏") == lines[2].index("▏ ") > 20


async def test_a_reading_that_has_no_room_is_left_out_whole(
    stage: Fixture, settle: Fixture
) -> None:
    lines = await machine_lines(stage, settle, 46)
    assert "2.7/24 GB" in lines[2] and "disk" not in lines[2] and "…" not in lines[2]
