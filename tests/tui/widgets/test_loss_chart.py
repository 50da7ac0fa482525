"""The chart: the drawn pictures, holes, spikes, and what a new point costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len

from tui.widgets.chart import LossChart

Fixture = Callable[..., Any]
NAN = math.nan

FALLING = [0.45 + 1.95 * math.exp(-step / 75) for step in range(1, 393)]


@pytest.mark.parametrize(
    ("name", "width", "height", "left", "first"),
    [("Training, 120×40", 88, 20, 32, 1), ("Training, 80×24", 80, 14, 0, 2)],
)
async def test_the_chart_of_the_picture(
    name: str,
    width: int,
    height: int,
    left: int,
    first: int,
    stage: Fixture,
    picture: Fixture,
    settle: Fixture,
) -> None:
    drawn = picture(name)
    if height == 14:
        height = next(y for y, line in enumerate(drawn) if line.startswith("┗")) - first + 1
    target = [line[left : left + width] for line in drawn[first : first + height]]
    chart = LossChart()
    app = stage(chart, width, height)
    async with app.run_test(size=(120, 40)) as pilot:
        chart.set_total(685)
        # From 2.4 to 0.4, as drawn, and ending in the figure of the picture.
        chart.set_points(list(range(1, 393)), [*[2.4, 0.41], *FALLING[2:]])
        chart.focus()
        await settle(pilot)
        lines = chart.picture_lines()
        assert [line[:7] for line in lines[1:-1]] == [line[:7] for line in target[1:-1]]
        # Legend, axes, labels and frame, to the column.
        assert lines[0][:30] == target[0][:30]
        assert lines[0].endswith(" ━┓")
        assert lines[-1] == target[-1]
        assert lines[-2] == target[-2]
        assert lines[-3] == target[-3]


async def test_the_curve_lies_over_the_points_and_marks_beside_it(
    stage: Fixture, settle: Fixture
) -> None:
    chart = LossChart()
    app = stage(chart, 60, 16)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.set_total(100)
        chart.set_points(list(range(100)), [2.0] * 50 + [1.0] * 50)
        chart.set_validation([10, 90], [2.0, 1.0])
        await settle(pilot)
        roles = {
            role
            for y in range(chart.content_height)
            for text, role in chart.content_line(y, 58)
            if text.strip()
        }
        assert {"series1", "series2", "dim"} >= roles
        lines = chart.picture_lines()
        # One mark is in the legend, one for each point beside the line.
        assert sum(line.count("◆") for line in lines) == 3
        assert "2.4" not in lines[0]
        assert lines[0].rstrip("─╮ ").endswith("1")


async def test_a_hole_is_a_gap_and_a_spike_stays(stage: Fixture, settle: Fixture) -> None:
    chart = LossChart()
    app = stage(chart, 60, 16)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.set_total(100)
        values = [1.0] * 40 + [NAN] * 20 + [1.0] * 40
        chart.set_points(list(range(100)), values)
        await settle(pilot)
        ink = [
            column
            for column in range(7, 58)
            if any("\u2800" < line[column] <= "\u28ff" for line in chart.picture_lines()[1:-3])
        ]
        assert not [column for column in ink if 7 + 22 < column < 7 + 29]
        assert [column for column in ink if column <= 7 + 20]
        values[20] = 9.0
        chart.set_points(list(range(100)), values)
        await settle(pilot)
        assert "10" in chart.picture_lines()[1] or "9" in chart.picture_lines()[1]


STRANGE: list[tuple[list[int], list[float | None]]] = [
    ([], []),
    ([1], [2.5]),
    ([1], [NAN]),
    ([1, 2, 3], [math.inf, -math.inf, NAN]),
    ([1, 2, 3], [math.inf, 2.0, None]),
    ([1, 2], [0.0, 0.0]),
    ([1, 2], [-3.0, 4.0]),
    ([1, 2], [1e308, -1e308]),
    ([1, 2, 1], [1.0, 2.0, 3.0]),
    ([10**7], [1e-12]),
]


@pytest.mark.parametrize("size", [(88, 20), (30, 12), (20, 5), (4, 3), (1, 1)])
async def test_any_points_at_any_size(
    size: tuple[int, int], stage: Fixture, settle: Fixture
) -> None:
    chart = LossChart()
    app = stage(chart, *size)
    async with app.run_test(size=(100, 30)) as pilot:
        for steps, values in STRANGE:
            chart.set_points(steps, values)
            chart.set_validation(steps, values)
            chart.set_overlays([("another\x1b run", steps, values)])
            await settle(pilot)
            for _ in range(2):
                for _ in range(3):
                    chart.zoom()
                    assert [cell_len(line) for line in chart.picture_lines()] == [size[0]] * size[1]
                chart.toggle_log()


async def test_an_empty_chart_says_what_fills_it(stage: Fixture, settle: Fixture) -> None:
    chart = LossChart(empty="Press t to train.")
    app = stage(chart, 60, 16)
    async with app.run_test(size=(80, 20)) as pilot:
        await settle(pilot)
        assert any("Press t to train." in line for line in chart.picture_lines())


async def test_few_lines_are_a_sparkline_with_the_number(stage: Fixture, settle: Fixture) -> None:
    chart = LossChart()
    app = stage(chart, 60, 6)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.set_total(685)
        chart.set_points(list(range(1, 393)), FALLING)
        await settle(pilot)
        line = chart.picture_lines()[1]
        assert line.startswith("│ 0.462 █")
        assert line.count("▁") > 5
        # It covers what has been done of the planned run.
        bars = len(line.strip("│ ").split(" ", 1)[1].rstrip())
        assert bars == round(392 / 685 * (58 - 3 - 5))


async def test_a_hundred_thousand_points(
    monkeypatch: pytest.MonkeyPatch, stage: Fixture, settle: Fixture
) -> None:
    chart = LossChart()
    app = stage(chart, 88, 20)
    steps = list(range(100_000))
    values: list[float | None] = [2.0 + math.sin(step) for step in steps]
    values[31_000] = 40.0
    async with app.run_test(size=(100, 30)) as pilot:
        chart.set_total(150_000)
        chart.set_points(steps, values)
        await settle(pilot)
        assert chart.picture_lines()[1].startswith("│   40┤")
        # One more is not a reason to look at the others again.
        seen: list[int] = []
        from tui.widgets import curves

        real = curves.Columns.extend
        monkeypatch.setattr(
            curves.Columns, "extend", lambda self, s, v: seen.append(len(s)) or real(self, s, v)
        )
        chart.set_points([*steps, 100_000], [*values, 2.0])
        assert max(seen) == 1


@pytest.mark.parametrize("count", [3, 700, 760, 2000])
async def test_points_added_one_by_one_draw_the_same(
    count: int, stage: Fixture, settle: Fixture
) -> None:
    steps = list(range(count))
    values: list[float | None] = [
        NAN if step % 97 == 5 else 1 + math.exp(-step / 99) * math.cos(step) for step in steps
    ]
    grown, whole = LossChart(), LossChart()
    app = stage(grown, 60, 16)
    async with app.run_test(size=(80, 20)) as pilot:
        grown.set_total(count * 2)
        for end in (count // 3, count // 2, count - 1, count):
            grown.set_points(steps[:end], values[:end])
            await settle(pilot)
        whole.set_total(count * 2)
        whole.set_points(steps, values)
        assert grown._draw(58, 14) == whole._draw(58, 14)
        # A resume from an earlier checkpoint takes back what it repeats.
        again = count // 2
        grown.set_points([*steps, again], [*values, 3.0])
        whole = LossChart()
        whole.set_total(count * 2)
        whole.set_points([*steps[:again], again], [*values[:again], 3.0])
        assert grown._draw(58, 14) == whole._draw(58, 14)


async def test_a_new_point_changes_few_cells(
    stage: Fixture, refreshes: Fixture, settle: Fixture
) -> None:
    steps = list(range(1, 1001))
    values: list[float | None] = [0.5 + 1.9 * math.exp(-step / 200) for step in steps]
    chart = LossChart()
    app = stage(chart, 88, 20)
    async with app.run_test(size=(100, 30)) as pilot:
        chart.set_total(2000)
        chart.set_points(steps[:900], values[:900])
        await settle(pilot)
        calls = refreshes(chart)
        for end in range(901, 1001):
            chart.set_points(steps[:end], values[:end])
        assert calls
        assert all(regions for regions in calls)
        cells = sum(region.area for regions in calls for region in regions)
        assert cells < 200
        calls.clear()
        chart.set_points(steps, values)
        chart.set_validation([], [])
        chart.set_total(2000)
        assert calls == []


async def test_zoom_and_log_keys(stage: Fixture, settle: Fixture) -> None:
    chart = LossChart()
    app = stage(chart, 60, 16)
    async with app.run_test(size=(80, 20)) as pilot:
        chart.set_points(list(range(1, 101)), [100 / step for step in range(1, 101)])
        chart.focus()
        await settle(pilot)
        await pilot.press("y")
        assert chart.log_axis
        assert " log " in chart.picture_lines()[0]
        await pilot.press("z")
        assert chart.zoom_level == "half"
        assert "50" in chart.picture_lines()[-2].split()[1]
        await pilot.press("z", "z")
        assert chart.zoom_level == "all"


async def test_overlays_lie_below_and_are_named(stage: Fixture, settle: Fixture) -> None:
    chart = LossChart()
    app = stage(chart, 88, 16)
    async with app.run_test(size=(100, 20)) as pilot:
        chart.set_points(list(range(50)), [1.0] * 50)
        chart.set_overlays([("sft-1", list(range(50)), [1.0] * 50), ("sft-2", [1, 40], [2.0, 2.0])])
        await settle(pilot)
        assert "━ sft-1  ━ sft-2" in chart.picture_lines()[0]
        roles = {role for y in range(14) for _, role in chart.content_line(y, 86)}
        assert "series4" in roles
        assert "series3" not in roles
