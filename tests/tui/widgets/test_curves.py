"""The arithmetic of a chart."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from tui.widgets.curves import (
    Columns,
    in_order,
    nice_step,
    reduce_runs,
    smoothed,
    smoothing_weight,
    step_labels,
    step_window,
    value_axis,
)

NAN, INF = math.nan, math.inf


def reference_smoothing(values: list[float]) -> list[float]:
    """The recurrence as FORMATS.md gives it, written a second way."""
    n = len(values)
    w = 1.8 * (1 / (1 + math.e ** (-0.05 * n)) - 0.5)
    result = [values[0]]
    for value in values[1:]:
        result.append(result[-1] * w + value * (1 - w))
    return result


@pytest.mark.parametrize("count", [1, 2, 7, 60, 900])
def test_smoothing_is_the_recurrence(count: int) -> None:
    random.seed(count)
    values = [random.uniform(0, 3) for _ in range(count)]
    assert smoothed(values) == pytest.approx(reference_smoothing(values), rel=1e-12)


def test_smoothing_of_nothing_and_of_gaps() -> None:
    assert smoothed([]) == []
    assert all(math.isnan(value) for value in smoothed([NAN, INF, -INF]))
    with_gap = smoothed([2.0, NAN, 1.0])
    without = smoothed([2.0, 1.0])
    assert math.isnan(with_gap[1])
    assert [with_gap[0], with_gap[2]] == without


def test_the_weight_settles() -> None:
    assert smoothing_weight(0) == 0
    assert smoothing_weight(800) == smoothing_weight(10**9) == pytest.approx(0.9)


def test_steps_repeated_after_a_resume_replace_the_earlier_ones() -> None:
    steps, values = in_order([1, 2, 3, 4, 3, 4, 5], [1.0, 2.0, 3.0, 4.0, 30.0, None, 50.0])
    assert steps == [1, 2, 3, 4, 5]
    assert values[:3] == [1.0, 2.0, 30.0]
    assert math.isnan(values[3])
    assert in_order([], []) == ([], [])
    assert in_order([NAN, 1], [1.0, 2.0]) == ([1], [2.0])


def test_a_spike_survives_the_reduction() -> None:
    steps = list(range(10_000))
    values = [1.0] * 10_000
    values[5001], values[7003] = 50.0, -50.0
    (run,) = reduce_runs(steps, values, (0, 10_000), 80)
    assert len(run) <= 3 * 80
    assert (5001.0, 50.0) in run
    assert (7003.0, -50.0) in run
    assert run[-1] == (9999.0, 1.0)
    assert [x for x, _ in run] == sorted(x for x, _ in run)


def test_each_column_keeps_lowest_highest_and_last() -> None:
    (run,) = reduce_runs([0, 1, 2, 3, 4], [3.0, 9.0, 1.0, 5.0, 4.0], (0, 100), 1)
    assert run == [(1, 9.0), (2, 1.0), (4, 4.0)]


@pytest.mark.parametrize("hole", [NAN, INF, -INF])
def test_a_hole_ends_a_run(hole: float) -> None:
    runs = reduce_runs([0, 1, 2, 3, 4], [1.0, 2.0, hole, 3.0, 4.0], (0, 4), 40)
    assert runs == [[(0, 1.0), (1, 2.0)], [(3, 3.0), (4, 4.0)]]


def test_holes_alone_leave_nothing() -> None:
    assert reduce_runs([0, 1], [NAN, INF], (0, 4), 40) == []
    assert reduce_runs([], [], (0, 4), 40) == []


def test_a_logarithmic_axis_has_no_place_for_nought() -> None:
    assert reduce_runs([0, 1, 2], [1.0, 0.0, 2.0], (0, 4), 40, log=True) == [[(0, 1.0)], [(2, 2.0)]]
    assert len(reduce_runs([0, 1, 2], [1.0, 0.0, 2.0], (0, 4), 40)) == 1


def test_points_out_of_sight_are_left_out() -> None:
    assert reduce_runs([0, 5, 10], [1.0, 2.0, 3.0], (4, 6), 40) == [[(5, 2.0)]]


def test_points_added_one_by_one_reduce_to_the_same() -> None:
    random.seed(5)
    steps = list(range(500))
    values = [NAN if random.random() < 0.05 else random.random() for _ in steps]
    grown = Columns((0, 700), 37)
    for step, value in zip(steps, values, strict=True):
        grown.extend([step], [value])
        grown.runs()
    assert grown.runs() == reduce_runs(steps, values, (0, 700), 37)


@pytest.mark.parametrize(
    ("raw", "step"),
    [(1, 1), (1.1, 2), (0.3, 0.5), (6, 10), (0.02, 0.02), (171, 200), (5e-324, 1e-300)],
)  # fmt: skip
def test_round_steps(raw: float, step: float) -> None:
    assert nice_step(raw) == pytest.approx(step)


def test_the_axis_of_the_picture() -> None:
    axis = value_axis(0.41, 2.38)
    assert [text for _, text in axis.ticks] == ["2.4", "1.4", "0.4"]
    assert axis.share(0.4) == 0
    assert axis.share(2.4) == pytest.approx(1)
    assert axis.share(99) == 1
    assert axis.share(-99) == 0


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0), (1, 1), (-3, -3), (-5, 3), (1e-9, 2e-9), (0, 1e12), (-1e308, 1e308), (5e-324, 5e-324),
     (1.7e308, 1.7e308), (2.3, 2.4), (999.9, 1000.1)],
)  # fmt: skip
def test_any_axis_holds_its_values(low: float, high: float) -> None:
    axis = value_axis(low, high)
    slack = 1e-9 * max(abs(low), abs(high))
    assert axis.low <= low + slack
    assert axis.high >= high - slack
    assert axis.low < axis.high
    assert len(axis.ticks) == 3
    assert [value for value, _ in axis.ticks] == sorted((v for v, _ in axis.ticks), reverse=True)


@pytest.mark.parametrize(
    ("low", "high"), [(0.02, 0.7), (1, 1), (3, 3), (1e-6, 40), (1e-300, 9e299), (2, 2.1)]
)
def test_any_logarithmic_axis_holds_its_values(low: float, high: float) -> None:
    axis = value_axis(low, high, log=True)
    assert 0 < axis.low <= low * (1 + 1e-9)
    assert axis.high >= high * (1 - 1e-9)
    assert axis.low < axis.high
    assert 0 <= axis.share(low) <= axis.share(high) <= 1
    assert axis.share(-1) == 0


def test_the_axis_moves_seldom_while_a_loss_falls() -> None:
    low, axes = 2.4, []
    for step in range(1000):
        low = min(low, 0.4 + 2 * math.exp(-step / 150))
        axes.append(value_axis(low, 2.4))
    changes = sum(1 for one, two in pairwise(axes) if one != two)
    assert changes <= 16


def test_step_labels_of_the_pictures() -> None:
    assert step_labels((0, 685), 79) == [
        (0, "0"),
        (23, "200"),
        (46, "400"),
        (69, "600"),
        (76, "685"),
    ]
    assert step_labels((0, 685), 71) == [
        (0, "0"),
        (20, "200"),
        (41, "400"),
        (62, "600"),
        (68, "685"),
    ]


@pytest.mark.parametrize("width", [1, 2, 5, 8, 12, 20, 79, 200])
@pytest.mark.parametrize("total", [1, 3, 10, 685, 1000, 1_234_567])
def test_step_labels_never_touch(width: int, total: int) -> None:
    end = -2
    for column, text in step_labels((0, total), width):
        assert column >= end + 2
        end = column + len(text)
    assert end <= width


def test_no_room_no_labels() -> None:
    assert step_labels((0, 10), 0) == []
    assert step_labels((5, 5), 10) == []


def test_the_steps_in_sight() -> None:
    assert step_window("all", 0, 685) == (0, 685)
    assert step_window("all", 392, 685) == (0, 685)
    # Past the plan, or without one: to a round number behind the last step.
    assert step_window("all", 700, 685) == (0, 800)
    assert step_window("all", 0, None) == (0, 1)
    low, high = step_window("half", 392, 685)
    assert low <= 196
    assert 392 <= high <= 685
    low, high = step_window("tenth", 392, 685)
    assert 300 <= low <= 353
    assert high >= 392
    # The window stands still for a while.
    assert len({step_window("half", last, 685) for last in range(392, 399)}) == 1


@pytest.mark.parametrize("zoom", ["all", "half", "tenth"])
@pytest.mark.parametrize("last", [0, 1, 2, 9, 685, 700])
@pytest.mark.parametrize("total", [None, 1, 685])
def test_every_window_is_one(zoom: str, last: int, total: int | None) -> None:
    low, high = step_window(zoom, last, total)  # type: ignore[arg-type]
    assert low < high
    assert low <= last <= high
