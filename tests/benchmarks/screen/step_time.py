"""The same run headless and under the screen: what the screen costs a step.

    python tests/benchmarks/screen/step_time.py [--model demo] [--pairs 60] [--steps 5] [--batch 4]

Both runs are up at once and take turns: one is stopped (SIGSTOP) while the other makes the next
few steps, then the other makes the same ones, on the same rows. The speed of a shared machine
wanders by tens of percent within minutes; the two halves of a pair lie seconds apart. Who goes
first changes from pair to pair. The first step after waking isn't counted: half of it lay before
the stop. The promise on 2 cores: the median ratio within 2 %.

`--control` puts a second headless run in the place of the screen: the ratio is then 1 but for the
noise, which says what this way of measuring can tell here.

The processor time of the screen's own threads (all but those that compute) is taken too: it is
what a step can lose to the screen where every core computes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import time
from math import comb
from pathlib import Path
from typing import TextIO

from line import Line, form, headless, scratch, start_headless

WARM = 3
# How often it is asked whether a step was logged. The steps' own times are in the file.
LOOK_SECONDS = 0.03


class Side:
    """One of the two runs: where it writes, how it is stopped and woken, when its steps were."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder, self.pid = folder, pid
        self._events: TextIO | None = None
        self._times: list[float] = []
        self._part = ""

    def wait(self) -> None:
        """Let a moment pass."""
        time.sleep(LOOK_SECONDS)

    def step_times(self) -> list[float]:
        """When each step of the run was logged; only what is new is read."""
        if self._events is None:
            files = list(self.folder.glob("saves/*/*/*/events.jsonl"))
            if not files:
                return self._times
            self._events = files[0].open(encoding="utf-8")
        *rows, self._part = (self._part + self._events.read()).split("\n")
        self._times += [json.loads(row)["time"] for row in rows if '"StepLogged"' in row]
        return self._times


class OnScreen(Side):
    """The run with the monitor open; nothing is emulated, the bytes are only taken off."""

    def __init__(self, folder: Path, line: Line) -> None:
        super().__init__(folder, line.process.pid)
        self.line = line

    def wait(self) -> None:
        end = time.monotonic() + LOOK_SECONDS
        while (left := end - time.monotonic()) > 0:
            self.line.read(left)


def main() -> None:
    # Ended from outside, it takes its two runs with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="demo")
    options.add_argument("--pairs", type=int, default=60)
    options.add_argument("--steps", type=int, default=5, help="counted steps of a turn")
    options.add_argument("--batch", type=int, default=4, help="rows a step; fewer make it shorter")
    options.add_argument("--control", action="store_true", help="headless against headless")
    chosen = options.parse_args()
    plan = form(
        chosen.model,
        max_steps=WARM + (chosen.pairs + 1) * (chosen.steps + 1) + 1,
        save_strategy="no",
        per_device_train_batch_size=chosen.batch,
        gradient_accumulation_steps=1,
    )
    with scratch() as folder:
        # How many threads compute is measured once a machine: once for both runs here, too.
        threads = Path(folder) / "threads"
        headless(threads, plan | {"max_steps": 3})
        measured = threads / "state" / "machine.json"
        if not measured.is_file():
            raise SystemExit("The machine is too busy to measure its threads; try again.")
        print(measured.read_text(encoding="utf-8").strip(), flush=True)
        computing = int(json.loads(measured.read_text(encoding="utf-8"))["count"])
        places = [Path(folder) / name for name in ("headless", "other")]
        for place in places:
            (place / "state").mkdir(parents=True)
            shutil.copy(measured, place / "state")
        process = start_headless(places[0], plan)
        plain = Side(places[0], process.pid)
        try:
            reach(plain, WARM)
            signal_to(plain, signal.SIGSTOP)
            if chosen.control:
                second = start_headless(places[1], plan)
                other = Side(places[1], second.pid)
                try:
                    reach(other, WARM)
                    measure(plain, other, chosen.pairs, chosen.steps, computing)
                finally:
                    second.kill()
                    second.wait()
            else:
                with Line(places[1], plan) as line:
                    line.open()
                    line.press("t")
                    line.drawing = False
                    shown = OnScreen(places[1], line)
                    reach(shown, WARM)
                    measure(plain, shown, chosen.pairs, chosen.steps, computing)
        finally:
            process.kill()  # also one that is stopped
            process.wait()


def measure(plain: Side, other: Side, pairs: int, steps: int, computing: int) -> None:
    """Let the two take turns, and print each pair and what they say together."""
    signal_to(other, signal.SIGSTOP)
    ratios, shares = [], []
    for number in range(pairs):
        took = {}
        for side in (plain, other) if number % 2 == 0 else (other, plain):
            took[side], share = turn(side, steps, computing)
            if side is other:
                shares.append(share)
        ratios.append(took[other] / took[plain])
        print(f"pair {number + 1:>3}: headless {took[plain] / steps:.4f} s  "
              f"other {took[other] / steps:.4f} s  ratio {ratios[-1]:.4f}  "
              f"own threads {shares[-1]:.2%}", flush=True)  # fmt: skip
    low, high, covered = interval(ratios)
    print(f"median ratio {statistics.median(ratios):.4f}, "
          f"{covered:.1%} interval {low:.4f} to {high:.4f} ({len(ratios)} pairs)")  # fmt: skip
    print(f"own threads of the other, share of one core: median {statistics.median(shares):.2%}, "
          f"max {max(shares):.2%}")  # fmt: skip


def turn(side: Side, steps: int, computing: int) -> tuple[float, float]:
    """Seconds for `steps` whole steps, made after the one that was under way, and the share of one
    core that the threads which don't compute took meanwhile."""
    done = len(side.step_times())
    signal_to(side, signal.SIGCONT)
    # Woken by the signal, the screen sends its whole picture: nothing that a run has it do.
    reach(side, done + 1)
    before, begun = thread_seconds(side.pid), time.monotonic()
    reach(side, done + steps + 1)
    own = own_share(before, thread_seconds(side.pid), computing)
    share = own / (time.monotonic() - begun)
    signal_to(side, signal.SIGSTOP)
    times = side.step_times()
    return times[done + steps] - times[done], share


def reach(side: Side, steps: int) -> None:
    """Wait until a run has logged so many steps."""
    while len(side.step_times()) < steps:
        side.wait()
        if not Path(f"/proc/{side.pid}").exists():
            raise RuntimeError("a run ended early")


def signal_to(side: Side, number: signal.Signals) -> None:
    os.killpg(side.pid, number)


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor seconds of each thread of a process, by its id (Linux)."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = (int(fields[11]) + int(fields[12])) / tick
    return found


def own_share(before: dict[str, float], after: dict[str, float], computing: int) -> float:
    """Processor seconds of all threads but the `computing` busiest."""
    took = sorted(after[one] - before.get(one, 0.0) for one in after)
    return sum(took[:-computing])


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
