"""Draws the README's picture from a real run: `python .pictures/make.py saves/…/RUN`.

The events of the run are read from its `events.jsonl`, as the screen reads them, up to the share of
its steps given by `--until`; the machine's readings are this machine's own.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from engine.events import StepLogged
from engine.runs.eventlog import read_events
from engine.telemetry import Sampler
from engine.worker import Engine
from tui.app import FinetuiApp
from tui.live import LiveRun
from tui.remembered import Remembered


def folded(run: Path, until: float) -> LiveRun:
    """The run as the monitor would have shown it when `until` of its steps were done."""
    live = LiveRun(run.name, folder=run)
    for event in read_events(run / "events.jsonl"):
        if isinstance(event, StepLogged) and event.step > until * event.total_steps:
            break
        live.fold(event)
    return live


async def draw(run: Path, until: float, target: Path) -> None:
    sampler = Sampler()
    sampler.sample()
    sampler.start()
    app = FinetuiApp(Engine(), sampler, Remembered())
    async with app.run_test(size=(120, 40)) as pilot:
        live = folded(run, until)
        await pilot.pause(2.5)
        live.remaining_at = time.time()  # as if it were that moment
        app.studio.live = app.studio.jobs[live.run] = live
        app.take_in()
        await pilot.pause(1.0)
        target.write_text(app.export_screenshot(title="finetui"), encoding="utf-8")
    sampler.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--until", type=float, default=1.0)
    parser.add_argument("--into", type=Path, default=Path(__file__).with_name("training.svg"))
    options = parser.parse_args()
    asyncio.run(draw(options.run, options.until, options.into))


if __name__ == "__main__":
    main()
