"""How the screen writes numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from engine.cli import words
from tui.widgets import numbers
from tui.widgets.sparkline import sparkline

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (numbers.loss, 0.61, "0.61"),
        (numbers.loss, 0.6137, "0.614"),
        (numbers.loss, 2.0, "2"),
        (numbers.loss, -12.345, "-12.3"),
        (numbers.loss, 999.9, "1,000"),
        (numbers.loss, 1234.5, "1,230"),
        (numbers.loss, 1.234e-5, "1.23e-5"),
        (numbers.loss, 3.21e7, "3.21e7"),
        (numbers.loss, 0, "0"),
        (numbers.rate, 1e-4, "1e-4"),
        (numbers.rate, 4.1e-4, "4.1e-4"),
        (numbers.rate, 9.99e-4, "1e-3"),
        (numbers.rate, 0.001, "1e-3"),
        (numbers.rate, 0.05, "5e-2"),
        (numbers.rate, 0.5, "0.5"),
        (numbers.rate, 1e-10, "1e-10"),
        (numbers.rate, 0, "0"),
        (numbers.duration, 0, "0s"),
        (numbers.duration, 14.4, "14s"),
        (numbers.duration, 59.7, "1m00s"),
        (numbers.duration, 130, "2m10s"),
        (numbers.duration, 3840, "1h04m"),
        (numbers.duration, 98000, "1d03h"),
        (numbers.about, 3, "3 s"),
        (numbers.about, 22, "20 s"),
        (numbers.about, 365, "6 min"),
        (numbers.about, 12600, "3.5 h"),
        (numbers.about, 180000, "2 d"),
        (numbers.age, 59, "now"),
        (numbers.age, -5, "now"),
        (numbers.age, 125, "2m"),
        (numbers.age, 5 * 3600, "5h"),
        (numbers.age, 86400, "1d"),
        (numbers.size, 1.2e9, "1.2 GB"),
        (numbers.size, 80e9, "80 GB"),
        (numbers.size, 4.1e6, "4.1 MB"),
        (numbers.size, 300e3, "300 KB"),
        (numbers.size, 999, "999 B"),
        (numbers.size, 999.99e6, "1 GB"),
        (numbers.size, 2.5e12, "2.5 TB"),
        (numbers.memory, 1.2 * 2**30, "1.2"),
        (numbers.percent, 0.572, "57 %"),
        (numbers.percent, 0.999, "99 %"),
        (numbers.percent, 1.0, "100 %"),
        (numbers.percent, 0.0, "0 %"),
        (numbers.thousands, 8192, "8,192"),
        (numbers.thousands, 0, "0"),
        (numbers.compact, 135e6, "135 M"),
        (numbers.compact, 4.9e6, "4.9 M"),
        (numbers.compact, 1.24e9, "1.2 B"),
        (numbers.compact, 12_300, "12 k"),
        (numbers.compact, 950, "950"),
    ],
)
def test_a_number(write: Callable[[float], str], value: float, text: str) -> None:
    assert write(value) == text


@pytest.mark.parametrize(
    "write",
    [numbers.loss, numbers.rate, numbers.duration, numbers.about, numbers.age, numbers.size,
     numbers.memory, numbers.percent, numbers.thousands, numbers.compact],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, NAN, INF, -INF])
def test_a_missing_reading_is_a_dash(
    write: Callable[[float | None], str], value: float | None
) -> None:
    assert write(value) == "–"


def test_memory_of_what_there_is() -> None:
    assert numbers.memory_of(61.2 * 2**30, 79.6 * 2**30) == "61.2/80 GB"
    assert numbers.memory_of(2.8 * 2**30, 23.1 * 2**30) == "2.8/23 GB"
    assert numbers.memory_of(0.5 * 2**30, 3.8 * 2**30) == "0.5/3.8 GB"
    assert numbers.memory_of(None, 8 * 2**30) == "–/8.0 GB"
    assert numbers.memory_of(2**30, None) == "1 GB"
    assert numbers.memory_of(None, None) == "–"


def test_memory_is_counted_alike_everywhere() -> None:
    assert numbers.memory_size(1.2 * 2**30) == f"{numbers.memory(1.2 * 2**30)} GB"
    assert numbers.memory_size(266 * 2**20) == "266 MB"
    assert numbers.memory_size(9.3 * 2**20) == "9.3 MB"
    assert numbers.memory_size(0) == "0 MB"
    assert numbers.memory_size(None) == "–"
    assert words.memory(23.6 * 2**30) == "23.6 GB"


@pytest.mark.parametrize("width", range(0, 26))
@pytest.mark.parametrize("text", ["SmolLM2-135M-Instruct", "微调一个语言模型", "a🙂b微c", "x"])
def test_cut_text_takes_no_more_than_its_cells(text: str, width: int) -> None:
    for cut in (numbers.end_cut(text, width), numbers.middle_cut(text, width)):
        assert cell_len(cut) <= width
        if cell_len(text) <= width:
            assert cut == text
        elif width > 0:
            assert "…" in cut


def test_the_middle_goes_and_both_ends_stay() -> None:
    assert numbers.middle_cut("sft-1124-1402/checkpoint-685", 15) == "sft-112…int-685"
    assert numbers.end_cut("sft-1124-1402", 8) == "sft-112…"


def test_a_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, NAN, 2], 10) == "▁ █"
    assert sparkline([3, 3, 3], 10) == "▄▄▄"
    assert sparkline([0, 0], 10) == "▁▁"
    assert sparkline([], 10) == ""
    assert sparkline([1, 2], 0) == ""
    assert sparkline([NAN, INF], 10) == "  "
    assert sparkline([-1e308, 1e308], 4) == "▁█"
    assert sparkline([0.0, 0.5, 1.0], 4, (0, 1)) == "▁▅█"
    assert sparkline([-1, 9], 4, (0, 1)) == "▁█"


def test_a_sparkline_keeps_a_spike_and_its_width() -> None:
    values = [1.0] * 100_000
    values[50_000] = 9.0
    line = sparkline(values, 40)
    assert len(line) == 40
    assert line.count("█") == 1
    assert line.count("▁") == 39
