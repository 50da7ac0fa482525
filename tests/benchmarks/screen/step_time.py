"""The same run headless and under the screen: what the screen costs a step.

    python tests/benchmarks/screen/step_time.py [--model demo] [--pairs 30] [--steps 12] [--batch 4]

Pairs are interleaved, the order within one changes from pair to pair. A run's step time is the
median over its steps but the first two. The promise on 2 cores: the median ratio within 2 %.

A machine whose speed wanders by tens of percent between two runs hides that in its noise. So the
processor time of the screen's own threads (all but those that compute) is taken too: it is what a
step can lose to the screen where every core computes, and hardly varies.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from itertools import pairwise
from math import comb
from pathlib import Path
from typing import Any

from line import Line, form, headless, scratch

WARM = 2


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="demo")
    options.add_argument("--pairs", type=int, default=30)
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--batch", type=int, default=4, help="rows a step; fewer make it shorter")
    chosen = options.parse_args()
    plan = form(
        chosen.model,
        max_steps=chosen.steps,
        save_strategy="no",
        per_device_train_batch_size=chosen.batch,
        gradient_accumulation_steps=1,
    )
    ratios, shares = [], []
    with scratch() as folder:
        # How many threads compute is measured once a machine: once for all runs here, too.
        threads = Path(folder) / "threads"
        headless(threads, plan)
        measured = threads / "state" / "machine.json"
        if not measured.is_file():
            raise SystemExit("The machine is too busy to measure its threads; try again.")
        print(measured.read_text(encoding="utf-8").strip(), flush=True)
        computing = int(json.loads(measured.read_text(encoding="utf-8"))["count"])
        for number in range(chosen.pairs):
            took: dict[str, float] = {}
            kinds = ("headless", "screen") if number % 2 == 0 else ("screen", "headless")
            for kind in kinds:
                place = Path(folder) / f"{number}-{kind}"
                (place / "state").mkdir(parents=True)
                shutil.copy(measured, place / "state")
                if kind == "headless":
                    headless(place, plan)
                else:
                    shares.append(on_screen(place, plan, computing))
                took[kind] = step_seconds(place)
            ratios.append(took["screen"] / took["headless"])
            print(f"pair {number + 1:>2}: headless {took['headless']:.4f} s  "
                  f"screen {took['screen']:.4f} s  ratio {ratios[-1]:.4f}  "
                  f"own threads {shares[-1]:.2%}", flush=True)  # fmt: skip
    low, high, share = interval(ratios)
    print(f"median ratio {statistics.median(ratios):.4f}, "
          f"{share:.1%} interval {low:.4f} to {high:.4f} ({len(ratios)} pairs)")  # fmt: skip
    print(f"the screen's own threads, share of one core: median {statistics.median(shares):.2%}, "
          f"max {max(shares):.2%}")  # fmt: skip


def on_screen(folder: Path, plan: dict[str, Any], computing: int) -> float:
    """The run with the monitor open; nothing is emulated, the bytes are only taken off.

    Returns the share of one core that all threads but the `computing` busiest took meanwhile.
    """
    begun: tuple[float, dict[str, float]] | None = None
    with Line(folder, plan) as line:
        line.open()
        line.press("t")
        line.drawing = False
        while not any(folder.glob("saves/*/*/*/train_results.json")):
            line.read(0.2)
            if line.process.poll() is not None:
                raise RuntimeError("the screen ended")
            if begun is None and steps_logged(folder) >= WARM:
                begun = time.monotonic(), thread_seconds(line.process.pid)
        seconds = time.monotonic()
        ended = thread_seconds(line.process.pid)
        line.read_for(0.5)
    if begun is None:
        raise RuntimeError("the run was over before it was looked at: give it more --steps")
    took = sorted(ended[one] - begun[1].get(one, 0.0) for one in ended)
    return sum(took[:-computing]) / (seconds - begun[0])


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor seconds of each thread of a process, by its id (Linux)."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = (int(fields[11]) + int(fields[12])) / tick
    return found


def steps_logged(folder: Path) -> int:
    """How many steps the only run in a folder has logged."""
    files = list(folder.glob("saves/*/*/*/events.jsonl"))
    return files[0].read_text(encoding="utf-8").count('"StepLogged"') if files else 0


def step_seconds(folder: Path) -> float:
    """Median seconds between the logged steps of the only run in a folder."""
    (events,) = folder.glob("saves/*/*/*/events.jsonl")
    rows = [json.loads(row) for row in events.read_text(encoding="utf-8").splitlines()]
    times = [row["time"] for row in rows if row["kind"] == "StepLogged"]
    return statistics.median(b - a for a, b in list(pairwise(times))[WARM - 1 :])


def interval(values: list[float], wanted: float = 0.95) -> tuple[float, float, float]:
    """Distribution-free interval of the median from order statistics, and what it covers."""
    ordered, n = sorted(values), len(values)
    for k in range(n // 2, 0, -1):
        covered = 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n
        if covered >= wanted:
            return ordered[k - 1], ordered[n - k], covered
    return ordered[0], ordered[-1], 1 - 2 / 2**n


if __name__ == "__main__":
    main()
