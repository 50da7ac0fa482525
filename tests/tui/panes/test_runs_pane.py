"""The list of runs, a run's curve and facts, resuming from a checkpoint, starting again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from engine.config import defaults_for_form, with_value, write_yaml
from engine.events import StateChanged, StepLogged, to_json
from engine.runs.checkpoints import COMPLETE_MARK
from engine.worker import TrainJob


def write_run(
    home: Path,
    name: str = "sft-1124-1402",
    *,
    state: str = "done",
    losses: tuple[float, ...] = (2.4, 1.2, 0.61),
    steps: tuple[int, ...] = (10,),
    age: float = 120.0,
    model: str = "demo",
) -> Path:
    """A run folder as the engine leaves one, written by hand."""
    run = home / "saves" / "tiny" / "lora" / name
    run.mkdir(parents=True)
    when = time.time() - age
    config = with_value(defaults_for_form(), "model_name_or_path", model)
    config = with_value(config, "lora_rank", 12)
    (run / "training_args.yaml").write_text(write_yaml(config), encoding="utf-8")
    events: list[object] = [StateChanged(run=name, seq=1, time=when, state="training")]
    points = []
    for number, loss in enumerate(losses, 1):
        step = number * 5
        events.append(
            StepLogged(run=name, seq=number + 1, time=when, step=step, total_steps=15, loss=loss,
                       learning_rate=1e-4, epoch=1.0, elapsed=float(step))
        )  # fmt: skip
        points.append(
            {"current_steps": step, "total_steps": 15, "loss": loss, "lr": 1e-4, "epoch": 1.0}
        )
    events.append(StateChanged(run=name, seq=99, time=when, state=state))  # type: ignore[arg-type]
    (run / "events.jsonl").write_text(
        "".join(to_json(event) + "\n" for event in events),  # type: ignore[arg-type]
        encoding="utf-8",
    )
    (run / "trainer_log.jsonl").write_text(
        "".join(json.dumps(point) + "\n" for point in points), encoding="utf-8"
    )
    for step in steps:
        folder = run / f"checkpoint-{step}"
        folder.mkdir()
        weights = folder / "adapter_model.safetensors"
        weights.write_bytes(b"x" * 4_100_000)
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
        (folder / "trainer_state.json").write_text(
            json.dumps({"log_history": [{"step": 10, "loss": 1.2}]}), encoding="utf-8"
        )
        (folder / COMPLETE_MARK).write_text(
            json.dumps({"files": {weights.name: 4_100_000}, "step": step, "loss": 1.2}),
            encoding="utf-8",
        )
    for path in [*run.rglob("*"), run]:
        os.utime(path, (when, when))
    return run


async def test_no_run_yet_says_what_makes_one(open_screen) -> None:
    async with open_screen() as shown:
        assert "None yet. Press t to train" in shown.text
        await shown.press("4")
        for offered in ("resume", "its settings", "open"):
            assert offered not in shown.key_line
        await shown.press("enter", "r", "a")
        assert shown.app._focused_panel() == "runs"
        assert "There is no run yet." in shown.text
        assert "logged no loss" not in shown.text
        assert shown.dialogs == 0 and not shown.app._told


async def test_without_a_run_c_opens_the_chat(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("4", "c")
        assert shown.places == ["chat"]


async def test_runs_are_listed_with_sign_loss_and_age(open_screen, home: Path) -> None:
    write_run(home)
    write_run(home, "sft-1124-0910", state="stopped", losses=(3.04,), age=5 * 3600)
    write_run(home, "sft-1123-1744", state="failed", losses=(), age=26 * 3600)
    async with open_screen() as shown:
        rows = {row.text: row for row in shown.app.rail.runs.rows}
        assert (rows["sft-1124-1402"].mark, rows["sft-1124-1402"].figures) == ("✓", ("0.61", "2m"))
        assert (rows["sft-1124-0910"].mark, rows["sft-1124-0910"].figures) == ("■", ("3.04", "5h"))
        assert (rows["sft-1123-1744"].mark, rows["sft-1123-1744"].figures) == ("✗", ("–", "1d"))
        assert shown.app.rail.runs.rows[0].text == "sft-1124-1402"


async def test_ages_grow_without_reading_the_folders_again(
    open_screen, home: Path, monkeypatch
) -> None:
    write_run(home, age=10.0)
    async with open_screen() as shown:
        assert shown.app.rail.runs.rows[0].figures[1] == "now"
        reads: list[object] = []
        monkeypatch.setattr(shown.engine, "lookup", lambda *args, **_: reads.append(args))
        now = time.time
        monkeypatch.setattr("tui.panes.rail_panels.time.time", lambda: now() + 3600.0)
        shown.app.tick()
        assert shown.app.rail.runs.rows[0].figures[1] == "1h"
        assert reads == []


async def test_nothing_that_draws_touches_the_disk(open_screen, home: Path, monkeypatch) -> None:
    write_run(home)
    async with open_screen() as shown:
        await shown.press("3", "enter", "e", "x", "c", "escape", "4", "2", "m")
        touched: list[str] = []

        def watched(name: str):
            real = getattr(os, name)

            def call(path, *args, **kwargs):
                touched.append(f"{name} {path}")
                return real(path, *args, **kwargs)

            return call

        for name in ("stat", "listdir", "scandir", "open"):
            monkeypatch.setattr(os, name, watched(name))
        monkeypatch.setattr("builtins.open", lambda *args, **_: touched.append(f"open {args}"))
        monkeypatch.setattr("io.open", lambda *args, **_: touched.append(f"open {args}"))
        for view in shown.app.views:
            shown.app.view_name = view
            for other in shown.app.views.values():
                other.display = other is shown.app.views[view]
            shown.app.tick()
        monkeypatch.undo()
        assert touched == []


async def test_an_opened_run_shows_its_curve_and_facts(open_screen, home: Path) -> None:
    write_run(home)
    write_run(home, "sft-1124-0910", losses=(9.0, 8.0), age=999.0)
    async with open_screen() as shown:
        await shown.press("4", "enter")
        view = shown.app.views["runs"]
        assert shown.app.focused is view.entry()
        assert "15/15" in shown.text and "0.61" in shown.text
        assert view.charts.first._steps == [5, 10, 15]  # type: ignore[attr-defined]
        await shown.press("y", "z", "escape", "down")
        assert view.charts.first._steps == [5, 10]  # type: ignore[attr-defined]
        await shown.press("enter", "escape", "escape")
        assert shown.places == ["train"]


async def test_resuming_offers_checkpoints_with_loss_and_size(
    open_screen, home: Path, tiny_model: Path
) -> None:
    run = write_run(home, state="stopped", steps=(5, 10), model=str(tiny_model))
    async with open_screen() as shown:
        await shown.press("4", "r")
        assert shown.dialogs == 1 and "Resume sft-1124-1402 from" in shown.text
        assert "step 10" in shown.text and "step 5" in shown.text
        assert "4.1 MB" in shown.text and "1.2 " in shown.text
        await shown.press("escape")
        assert shown.dialogs == 0 and shown.studio.live is None
        await shown.press("r", "down", "enter")
        assert shown.studio.live is not None
        (waits,) = shown.engine.queue
        assert waits.job.config.resume_from_checkpoint == str(
            (run / "checkpoint-5").relative_to(home)
        )
        assert waits.job.config.lora_rank == 12
        assert shown.places == ["train"]
        await shown.press("4", "r")
        assert "This run is at work already" in shown.text
        assert len(shown.engine.queue) == 1


async def test_a_run_without_a_checkpoint_can_not_be_resumed(open_screen, home: Path) -> None:
    write_run(home, steps=())
    async with open_screen() as shown:
        await shown.press("4", "r")
        assert "no complete checkpoint" in shown.text
        await shown.press("escape", "c")
        assert "This run holds no model yet." in shown.text


async def test_a_runs_settings_are_taken_into_the_form(open_screen, home: Path) -> None:
    run = write_run(home)
    async with open_screen() as shown:
        await shown.press("4", "a")
        assert shown.studio.config.lora_rank == 12
        assert shown.studio.config.output_dir is None
        assert "The form holds the settings of" in shown.text
        (run / "training_args.yaml").unlink()
        await shown.press("a")
        assert "This run kept no settings." in shown.text


async def test_a_run_can_be_talked_to(open_screen, home: Path) -> None:
    write_run(home, steps=(5, 10))
    async with open_screen() as shown:
        await shown.press("4", "c")
        assert shown.places == ["chat"]
        assert "sft-1124-1402/checkpoint-10" in shown.text


@pytest.mark.parametrize("name", ["[b]x[b]", "sft-" + "long" * 30, "名字很长的一次训练运行"])
async def test_foreign_and_long_names_stand_in_their_cells(open_screen, home, name) -> None:
    write_run(home, name, steps=(10,))
    async with open_screen() as shown:
        await shown.press("4", "enter", "escape", "c")
        assert not shown.app._told
        assert shown.app.rail.runs.rows[0].text == name
        assert name[:3] in shown.text


@pytest.mark.parametrize("damage", ["events.jsonl", "trainer_log.jsonl", "training_args.yaml"])
async def test_a_damaged_run_is_no_harm(open_screen, home: Path, damage: str) -> None:
    run = write_run(home)
    (run / damage).write_bytes(b"\xff{\x00[[")
    async with open_screen() as shown:
        await shown.press("4", "enter", "escape", "r", "escape", "a", "escape")
        assert not shown.app._told and shown.app.is_running


async def test_a_run_under_way_is_told_as_it_goes_not_as_its_folder_was_read(
    open_screen, home: Path
) -> None:
    async with open_screen() as shown:
        run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
        write_run(home, run, state="training", losses=(2.4,), steps=())
        shown.studio.read_runs()
        await shown.settle()
        await shown.press("4", "enter")
        for step, loss in enumerate((2.4, 1.9, 1.25), 1):
            shown.studio.inbox.append(
                StepLogged(run=run, time=1e6, step=step, total_steps=60, loss=loss,
                           learning_rate=1e-4, epoch=0.1, elapsed=1.0)
            )  # fmt: skip
        shown.app.take_in()
        await shown.settle()
        assert "3/60" in shown.text
        assert shown.app.views["runs"].charts.first.newest < 2.4
        facts = [line for line in shown.lines if "last loss" in line]
        assert facts and "1.25" in facts[0]


async def test_who_comes_to_the_runs_sees_what_another_process_made_of_them(
    open_screen, home: Path
) -> None:
    write_run(home)
    async with open_screen() as shown:
        names = {row.key for row in shown.app.rail.runs.rows}
        (home / "saves").rename(home / "elsewhere")
        await shown.press("4")
        assert names and not shown.app.rail.runs.rows
        await shown.press("m")
        (home / "elsewhere").rename(home / "saves")
        await shown.press("4")
        assert {row.key for row in shown.app.rail.runs.rows} == names
