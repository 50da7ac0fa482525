"""A few whole pictures: fixed readings, a fixed clock, a run that was fed. A change of look shows
here; `pytest tests/tui/test_pictures.py --snapshot-update` takes the new ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.pilot import Pilot

from engine import models
from engine.events import CheckpointSaved, Evaluated, RunDescribed, StateChanged, StepLogged
from engine.telemetry import Machine
from engine.worker import Engine, TrainJob
from tui.app import FinetuiApp
from tui.remembered import Remembered

NOW = 1_763_992_800.0  # 14:00:00 UTC
STEPS, TOTAL = 392, 685
MACHINE = Machine("", 2, None, True, 23 << 30, False, (), None, None)

Compare = Callable[..., bool]


@pytest.fixture
def picture(home: Path, still_sampler, snap_compare: Compare, monkeypatch) -> Compare:
    """Compares the screen of a given size, after keys were pressed, with its stored picture."""
    monkeypatch.setattr("tui.live.time", SimpleNamespace(time=lambda: NOW))
    # Precision and forecast are those of one machine, whichever this one is.
    monkeypatch.setattr("engine.worker.questions.this_machine", lambda: MACHINE)
    monkeypatch.setattr(
        "engine.worker.fitting.forecast",
        lambda card, config, rows=None: models.forecast(card, config, None, MACHINE),
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=80_000_000_000))

    def compare(
        size: tuple[int, int], *keys: str, theme: str = "dark", running: bool = False
    ) -> bool:
        engine = Engine()
        app = FinetuiApp(engine, still_sampler, Remembered(), None, theme)

        async def settle(pilot: Pilot[int]) -> None:
            for _round in range(3):
                await pilot.pause()
                await asyncio.wrap_future(engine.lookup(int))
            await pilot.pause()

        async def before(pilot: Pilot[int]) -> None:
            app.tick()
            await settle(pilot)
            if running:
                feed(app)
            for key in keys:
                await pilot.press(key)
                await settle(pilot)
            app.take_in()
            await settle(pilot)

        run: Callable[[Pilot[int]], Awaitable[None]] = before
        return snap_compare(app, terminal_size=size, run_before=run)

    return compare


def feed(app: FinetuiApp) -> None:
    """A run as the engine tells of it, without noise."""
    run = app.studio.submit(TrainJob(app.studio.config), "train").run
    say = app.studio.inbox.append
    say(StateChanged(run=run, time=NOW, state="training"))
    say(
        RunDescribed(run=run, time=NOW, model="demo", stage="sft", method="lora", rows=1091,
                     eval_rows=0, total_steps=TOTAL, epochs=5.0, trainable_parameters=4_900_000,
                     parameters=139_000_000, precision="bf16", device="cpu", effective_batch=8)
    )  # fmt: skip
    for step in range(4, STEPS + 1, 4):
        wave = 0.15 * math.sin(step / 5)
        say(
            StepLogged(run=run, time=NOW, step=step, total_steps=TOTAL,
                       loss=0.58 + 1.9 * math.exp(-step / 70) + wave,
                       learning_rate=1e-3 * math.cos(math.pi * step / TOTAL / 2),
                       epoch=step / 137, grad_norm=0.7 + math.exp(-step / 40), throughput=412.0,
                       remaining=130.0)
        )  # fmt: skip
    say(CheckpointSaved(run=run, time=NOW, step=350, path="x", size=4_100_000, seconds=0.3))
    say(Evaluated(run=run, time=NOW, step=350, loss=0.68, best=True))
    app.take_in()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_first_start(picture: Compare, size: tuple[int, int]) -> None:
    assert picture(size)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_training(picture: Compare, size: tuple[int, int]) -> None:
    assert picture(size, running=True)


def test_training_in_the_light_theme(picture: Compare) -> None:
    assert picture((120, 40), theme="light", running=True)


def test_looking_at_data(picture: Compare) -> None:
    assert picture((120, 40), "2", "enter", "down")


def test_the_settings_form(picture: Compare) -> None:
    assert picture((120, 40), "3", "enter", "down", "down", "down")


def test_the_chat(picture: Compare) -> None:
    assert picture((120, 40), "c")
