"""From a key press to the cell it changes, while training.

    python tests/benchmarks/screen/latency.py [--model demo] [--count 300]

The promise on 2 cores: p99 at most 50 ms. This reader takes its share of the same cores, which a
person's own terminal would not.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from line import Line, form, percentile, scratch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="demo")
    options.add_argument("--count", type=int, default=300)
    chosen = options.parse_args()
    random.seed(0)
    with scratch() as folder, Line(Path(folder) / "live", form(chosen.model)) as line:
        line.open()
        for state in ("idle", "training"):
            if state == "training":
                line.press("m")
                line.read_for(1)
                line.press("t")
                line.wait_for("● training")
                line.read_for(5)
            line.press("2")
            line.wait_for(lambda: "┏━ 2 Data" in line.text())
            line.read_for(2)
            took = [_one(line, "\x1b[B" if at % 2 == 0 else "\x1b[A") for at in range(chosen.count)]
            if state == "training":
                assert "● training" in line.text(), "the run ended too soon"
            figures = "  ".join(
                f"p{part * 100:g} {1000 * percentile(took, part):.1f}" for part in (0.5, 0.9, 0.99)
            )
            print(f"{state}: {chosen.count} keys, ms: {figures}  max {1000 * max(took):.1f}")


def _one(line: Line, key: str) -> float:
    """Move the cursor of a list by one row: seconds until both its rows look otherwise."""
    line.read_for(random.uniform(0.03, 0.25))  # anywhere within the tick
    before = _looks(line)
    pressed = line.press(key)
    end = time.perf_counter() + 5
    while sum(a != b for a, b in zip(before, _looks(line), strict=True)) < 2:
        if time.perf_counter() > end:
            raise TimeoutError(f"the cursor did not move\n{line.text()}")
        line.read(0.05)
    return line.last - pressed


def _looks(line: Line) -> list[tuple[object, ...]]:
    """How the first letters of the list's rows are drawn."""
    rows = range(7, 13)
    return [(*(line.screen.buffer[y][x] for x in (1, 4)),) for y in rows]


if __name__ == "__main__":
    main()
