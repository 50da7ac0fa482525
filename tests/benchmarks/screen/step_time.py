"""The same run headless and under the screen: what the screen costs a step.

    python tests/benchmarks/screen/step_time.py [--model demo] [--pairs 30] [--steps 12] [--batch 4]

Pairs are interleaved, the order within one changes from pair to pair. A run's step time is the
median over its steps but the first two. The promise on 2 cores: the median ratio within 2 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
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
    ratios = []
    with scratch() as folder:
        # How many threads compute is measured once a machine: once for all runs here, too.
        threads = Path(folder) / "threads"
        headless(threads, plan)
        measured = threads / "state" / "machine.json"
        if not measured.is_file():
            raise SystemExit("The machine is too busy to measure its threads; try again.")
        print(measured.read_text(encoding="utf-8").strip(), flush=True)
        for number in range(chosen.pairs):
            took: dict[str, float] = {}
            kinds = ("headless", "screen") if number % 2 == 0 else ("screen", "headless")
            for kind in kinds:
                place = Path(folder) / f"{number}-{kind}"
                (place / "state").mkdir(parents=True)
                shutil.copy(measured, place / "state")
                (headless if kind == "headless" else on_screen)(place, plan)
                took[kind] = step_seconds(place)
            ratios.append(took["screen"] / took["headless"])
            print(f"pair {number + 1:>2}: headless {took['headless']:.4f} s  "
                  f"screen {took['screen']:.4f} s  ratio {ratios[-1]:.4f}", flush=True)  # fmt: skip
    low, high, share = interval(ratios)
    print(f"median ratio {statistics.median(ratios):.4f}, "
          f"{share:.1%} interval {low:.4f} to {high:.4f} ({len(ratios)} pairs)")  # fmt: skip


def on_screen(folder: Path, plan: dict[str, Any]) -> None:
    """The run with the monitor open; nothing is emulated, the bytes are only taken off."""
    with Line(folder, plan) as line:
        line.open()
        line.press("t")
        line.drawing = False
        while not any(folder.glob("saves/*/*/*/train_results.json")):
            line.read(0.2)
            if line.process.poll() is not None:
                raise RuntimeError("the screen ended")
        line.read_for(0.5)


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
