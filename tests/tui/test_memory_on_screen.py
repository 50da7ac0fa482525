"""Memory on the screen: what the run needs, the change that makes it fit, going on after all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import models
from engine.faults.device import LowMemory
from engine.models.memory_advice import memory_advice
from engine.models.rows import RowFacts
from engine.problem import Problem
from engine.telemetry import Machine
from engine.worker import Engine, TrainJob, fitting

GIB = 1 << 30


def small(gib: float) -> Machine:
    return Machine("x", 2, None, True, int(gib * GIB), False, (), None, 80_000_000_000)


@pytest.fixture
def narrow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 3 GiB, as forecasts see it."""
    monkeypatch.setattr(
        fitting,
        "forecast",
        lambda card, config, rows=None: models.forecast(card, config, 1000, small(3)),
    )
    monkeypatch.setattr(
        fitting,
        "advice",
        lambda card, config, rows=None: memory_advice(card, config, small(3), 1000),
    )


async def test_what_makes_it_fit_is_told_and_taken(open_screen, narrow_machine: None) -> None:
    async with open_screen(size=(140, 44)) as shown:
        studio = shown.studio
        studio.change("per_device_train_batch_size", 16)
        studio.change("memory_reserve_gb", 0.0)
        studio.look_again()
        await shown.settle()
        assert studio.advice
        first = studio.advice[0]
        shown.app.show()
        await shown.settle()
        # The rail is narrow; the form tells it whole.
        assert "of 3 GB: micro-batch" in shown.text and "F6" in shown.text
        await shown.press("3", "enter")
        assert f"of 3 GB: {first.change} fits (" in shown.text
        effective = studio.config.effective_batch
        await shown.press("f6")
        assert shown.dialogs == 1 and "To fit into 3 GB" in shown.text
        assert first.change in shown.text
        await shown.press("enter")
        config = studio.config
        assert config.per_device_train_batch_size < 16 and config.effective_batch == effective
        assert studio.forecast.fits
        await shown.press("f6")
        assert "The run fits into memory." in shown.text


async def test_the_disk_stands_beside_the_memory(open_screen) -> None:
    async with open_screen(size=(140, 44)) as shown:
        studio = shown.studio
        await shown.settle()
        assert studio.disk is not None and studio.disk.kept >= 1
        assert studio.disk_words().startswith("disk ") and "free" in studio.disk_words()


async def test_after_memory_ran_out_the_screen_asks_and_goes_on(open_screen) -> None:
    began: list[Any] = []

    def train(job: Any, session: Any, kept: Any) -> dict[str, Any]:
        began.append(job.config)
        session.state("training")
        if job.config.per_device_train_batch_size > 2:
            raise LowMemory(Problem("Only 0.10 GiB of memory is left.", where="memory"))
        return {"output_dir": str(session.folder)}

    engine = Engine({TrainJob: train})
    engine.start()
    async with open_screen(engine=engine) as shown:
        shown.studio.change("per_device_train_batch_size", 4)
        await shown.press("t")
        await shown.until(lambda: shown.dialogs == 1)
        assert "ran out of memory" in shown.text
        assert "micro-batch 2" in shown.text and "Only 0.10 GiB" in shown.text
        await shown.press("g")
        await shown.until(lambda: len(began) == 2)
        first, second = began
        assert second.per_device_train_batch_size == 2
        assert second.effective_batch == first.effective_batch
        assert second.resume_from_checkpoint is True
        assert Path(second.output_dir).name == shown.studio.live.run
        await shown.until(lambda: shown.studio.live.ended)
        assert "✓ done" in shown.lines[0]


async def test_esc_leaves_it_and_never_asks_nothing(open_screen) -> None:
    def train(job: Any, session: Any, kept: Any) -> dict[str, Any]:
        raise MemoryError

    engine = Engine({TrainJob: train})
    engine.start()
    async with open_screen(engine=engine) as shown:
        await shown.press("t")
        await shown.until(lambda: shown.dialogs == 1)
        await shown.press("escape")
        assert shown.dialogs == 0 and engine.idle
        shown.studio.change("recover_from_oom", "never")
        await shown.press("t")
        await shown.until(lambda: shown.dialogs == 1)
        assert "Go on from the last checkpoint" not in shown.text
        assert "try again" in shown.text


async def test_the_forecast_knows_the_rows_once_the_model_is_here(open_screen, monkeypatch) -> None:
    here = False
    monkeypatch.setattr(fitting, "row_facts", lambda _config: RowFacts(74) if here else None)
    async with open_screen() as shown:
        studio = shown.studio
        assert studio.row_facts is None and not studio.model_ready
        before = studio.forecast.total
        here = True  # as when the first run fetched it, and with it the tokenizer
        studio._take_models([replace(one, ready=True) for one in studio.models])
        await shown.settle()
        assert studio.row_facts == RowFacts(74)
        assert studio.forecast.total < before
