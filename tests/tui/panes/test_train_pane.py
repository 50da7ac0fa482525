"""The monitor: the first words, then curves, gauges and the log of a run that is fed to it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from engine.events import (
    CheckpointSaved,
    Evaluated,
    LogLine,
    Progress,
    RunDescribed,
    StateChanged,
    StepLogged,
)
from engine.telemetry.readings import CpuReading, GpuReading, MemoryReading
from engine.worker import TrainJob
from tui.app import FinetuiApp


def fed(shown, steps: int = 40, total: int = 100, nan_at: int = 0) -> str:
    """A run that the engine told of, as the screen takes it in."""
    run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
    say = shown.studio.inbox.append
    say(StateChanged(run=run, time=1e6, state="training"))
    say(
        RunDescribed(run=run, time=1e6, model="tiny", stage="sft", method="lora", rows=1091,
                     eval_rows=0, total_steps=total, epochs=5.0, trainable_parameters=4_900_000,
                     parameters=139_000_000, precision="bf16", device="cpu", effective_batch=8)
    )  # fmt: skip
    for step in range(1, steps + 1):
        loss = math.nan if step == nan_at else 0.4 + 2.0 * math.exp(-step / 12)
        say(
            StepLogged(run=run, time=1e6, step=step, total_steps=total, loss=loss,
                       learning_rate=1e-3 * (1 - step / total), epoch=step / 20, grad_norm=0.7,
                       throughput=412.0, remaining=130.0)
        )  # fmt: skip
    shown.app.take_in()
    return run


async def test_the_first_words_name_model_data_machine_and_the_key(open_screen) -> None:
    async with open_screen() as shown:
        assert "Ready to train  SmolLM2-135M-Instruct on identity" in shown.text
        assert "no GPU · 2 CPU cores · 23 GB memory" in shown.text
        assert "Press t to train." in shown.text


async def test_the_first_words_are_whole_on_every_size(open_screen) -> None:
    async with open_screen((100, 30)) as shown:
        for size in ((100, 30), (60, 24), (120, 40)):
            await shown.pilot.resize_terminal(*size)
            await shown.settle()
            view = " ".join(line.split("┃")[-2].strip() for line in shown.lines if "┃" in line)
            assert "80 GB disk free" in view and "1-4 change what runs." in view, shown.text


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_the_first_frame_has_the_view_and_the_keys_of_what_has_the_focus(
    open_screen, monkeypatch, size
) -> None:
    drawn = []
    show = FinetuiApp.show

    def shown_first(app: FinetuiApp) -> None:
        show(app)
        focused = app.focused
        view = app.views["train"].display
        drawn.append((focused.id if focused else "", view, "fetched once" in str(_words(app))))

    monkeypatch.setattr(FinetuiApp, "show", shown_first)
    async with open_screen(size):
        assert drawn[0] == ("welcome", True, False)


def _words(app: FinetuiApp) -> list[object]:
    return app.views["train"]._first_words()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (200, 50)])
async def test_a_run_is_watched_on_every_size(open_screen, size) -> None:
    async with open_screen(size) as shown:
        fed(shown)
        await shown.settle()
        assert "40/100" in shown.lines[0]
        text = shown.text
        assert "━ smoothed" in text and "original" in text
        assert any("⠀" < char <= "⣿" for char in text)
        assert "6e-4" in text and "0.7" in text and "412" in text
        assert "CPU" in text and "41 %" in text and "2.8/23" in text
        assert not shown.app._told


async def test_narrow_is_laid_out_as_drawn(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        fed(shown)
        await shown.settle()
        lines = shown.lines
        assert lines[1].startswith(" 1 Model  2 Data  3 Settings  4 Runs") and "▐Train▌" in lines[1]
        assert lines[2].startswith("┏━ loss") and lines[17].startswith("┗━")
        assert lines[18].startswith(" rate") and "grad norm" in lines[18] and "tok/s" in lines[18]
        assert "CPU" in lines[19] and "RAM" in lines[19]
        assert lines[20].startswith(" ───")
        assert "1,091 rows" in lines[21]
        assert lines[23].startswith(" s stop") or lines[23].startswith(" t train")


async def test_a_screen_made_small_is_laid_out_as_one_that_was_opened_so(open_screen) -> None:
    async with open_screen((120, 40)) as shown:
        fed(shown)
        await shown.settle()
        large = shown.lines
        # However long the curves would rest between two drawings.
        shown.app.views["train"]._rest_until = math.inf
        await shown.pilot.resize_terminal(80, 24)
        await shown.settle()
        shown.app.take_in()
        await shown.settle()
        assert shown.lines[18].startswith(" rate ") and "412 tok/s" in shown.lines[18]
        assert shown.lines[19].startswith(" CPU ") and "RAM" in shown.lines[19]
        assert shown.lines[20].startswith(" ───")
        await shown.pilot.resize_terminal(120, 40)
        await shown.settle()
        shown.app.take_in()
        await shown.settle()
        assert shown.lines == large


async def test_a_new_size_of_the_same_layout_keeps_what_the_readings_take(open_screen) -> None:
    # Or the curves are drawn for a height between, and then anew.
    async with open_screen((120, 40)) as shown:
        fed(shown)
        await shown.settle()
        view = shown.app.views["train"]
        panels = (view.watched, view.machine)
        heights = [panel.styles.height for panel in panels]
        assert None not in heights
        view.fit(False, False)
        assert [panel.styles.height for panel in panels] == heights


async def test_normal_is_laid_out_as_drawn(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown)
        await shown.settle()
        heads = [line[32:46].strip("╭┏━─ ") for line in shown.lines if line[32:33] in "╭┏"]
        assert [head.split()[0] for head in heads] == ["loss", "also", "machine", "log"]
        rail = [line[3:12].strip() for line in shown.lines if line[0] in "╭┏"]
        assert [head.split()[0] for head in rail] == ["1", "2", "3", "4"]


async def test_wide_puts_watch_and_log_into_a_second_column(open_screen) -> None:
    async with open_screen((200, 50)) as shown:
        fed(shown)
        await shown.settle()
        top = shown.lines[1]
        assert "loss" in top and "also watched" in top
        assert top.index("also watched") > 100


async def test_the_log_tells_of_rows_checkpoints_validation_and_lines(open_screen) -> None:
    async with open_screen() as shown:
        run = fed(shown)
        say = shown.studio.inbox.append
        say(CheckpointSaved(run=run, time=1e6, step=25, path="x", size=4_100_000, seconds=0.3))
        say(Evaluated(run=run, time=1e6, step=25, loss=0.68, best=True))
        say(LogLine(run=run, time=1e6, level="warning", text="the loss swings"))
        shown.app.take_in()
        await shown.settle()
        for words in (
            "training: 1,091 rows, 100 steps, 4.9 M of 139 M parameters (3.5 %)",
            "checkpoint-25 saved (4.1 MB in 0.3 s)",
            "validation loss 0.68, the best so far",
            "the loss swings",
        ):
            assert words in shown.text
        assert "4 lines" in shown.text


async def test_a_point_that_is_no_number_is_a_gap_not_a_crash(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown, nan_at=20)
        await shown.settle()
        assert not shown.app._told and "40/100" in shown.lines[0]


async def test_a_resumed_run_replaces_the_steps_it_repeats(open_screen) -> None:
    async with open_screen() as shown:
        run = fed(shown, steps=30)
        shown.studio.inbox.append(
            StepLogged(run=run, time=2e6, step=21, total_steps=100, loss=1.5, learning_rate=1e-4,
                       epoch=1.0)
        )  # fmt: skip
        shown.app.take_in()
        live = shown.studio.live
        assert live.steps == list(range(1, 22)) and live.losses[-1] == 1.5
        assert len(live.losses) == len(live.rates) == len(live.norms) == len(live.speeds) == 21


async def test_loading_shows_how_far_it_is(open_screen) -> None:
    async with open_screen() as shown:
        run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
        shown.studio.inbox.append(StateChanged(run=run, time=1.0, state="loading"))
        shown.studio.inbox.append(
            Progress(run=run, time=1.0, activity="fetching", done=62.0, total=100.0, unit="bytes")
        )
        shown.app.take_in()
        await shown.settle()
        assert "◌ loading" in shown.lines[0] and "62 %" in shown.lines[0]
        assert "No point yet" in shown.text


async def test_zoom_and_log_axis_are_reached_by_their_keys(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown)
        await shown.settle()
        chart = shown.app.views["train"].charts.first  # type: ignore[attr-defined]
        assert shown.app.focused is chart
        await shown.press("y", "z")
        assert chart.log_axis and chart.zoom_level != "all"
        await shown.press("y")
        assert not chart.log_axis


async def test_a_reading_that_is_missing_is_a_dash(open_screen) -> None:
    async with open_screen() as shown:
        sampler = shown.app.works._sampler
        gpu = GpuReading(0, "GPU [b]x[/b]", percent=83.0, used=61 << 30, total=80 << 30)
        sampler.reading = dataclasses.replace(  # type: ignore[union-attr]
            sampler.reading,  # type: ignore[union-attr]
            cpu=CpuReading(None, 2),
            ram=MemoryReading(None, None),
            gpus=(gpu,),
            disk_free=None,
        )
        fed(shown)
        shown.app.tick()
        await shown.settle()
        gauges = "\n".join(line for line in shown.lines if line[34:37] in ("GPU", "CPU", "RAM"))
        assert "83 %" in gauges and "61/80 GB" in gauges and gauges.count("–") >= 4
        assert " 0 %" not in gauges


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_memory_is_told_alike_on_every_size(open_screen, size) -> None:
    async with open_screen(size) as shown:
        sampler = shown.app.works._sampler
        sampler.reading = dataclasses.replace(  # type: ignore[union-attr]
            sampler.reading,  # type: ignore[union-attr]
            ram=MemoryReading(int(2.8 * 2**30), int(23.6 * 2**30)),
        )
        shown.app.tick()
        await shown.settle()
        assert "2.8/24 GB" in shown.text


async def test_a_new_run_begun_from_another_place_is_shown_as_it_goes(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        run = fed(shown, steps=30)
        await shown.settle()
        shown.studio.inbox.append(StateChanged(run=run, time=1e6, state="done"))
        shown.app.take_in()
        await shown.press("3", "enter")
        await shown.settle()
        assert "412" not in shown.text
        await shown.press("t")
        run = shown.studio.live.run
        say = shown.studio.inbox.append
        say(StateChanged(run=run, time=1e6, state="training"))
        for step in (1, 2):
            say(
                StepLogged(run=run, time=1e6, step=step, total_steps=9, loss=0.5, epoch=0.1,
                           learning_rate=3e-5, grad_norm=0.9, throughput=77.0)
            )  # fmt: skip
            say(LogLine(run=run, time=1e6, text=f"the second run at step {step}"))
            shown.app.take_in()
            await shown.settle()
        assert "77" in shown.text and "412" not in shown.text
        assert "the second run at step 2" in shown.text


async def test_curves_rest_between_drawings_but_the_end_is_always_drawn(
    open_screen, monkeypatch
) -> None:
    monkeypatch.setattr("tui.panes.train._DRAWING_SHARE", 1e-9)
    async with open_screen() as shown:
        run = fed(shown)
        chart = shown.app.views["train"].charts.first
        drawn = chart.newest
        shown.studio.inbox.append(
            StepLogged(run=run, time=1e6, step=41, total_steps=100, loss=9.0, learning_rate=1e-3,
                       epoch=2.0, grad_norm=0.7, throughput=412.0, remaining=130.0)
        )  # fmt: skip
        shown.app.take_in()
        assert chart.newest == drawn and shown.studio.live.step == 41
        shown.studio.inbox.append(StateChanged(run=run, time=1e6, state="done"))
        shown.app.take_in()
        assert chart.newest > drawn
