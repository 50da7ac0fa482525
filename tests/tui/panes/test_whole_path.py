"""From the form to the exported folder, by keys alone, with the tiny model and the real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.worker import Engine

pytestmark = pytest.mark.slow


async def test_train_watch_talk_score_and_export(open_screen, home: Path, tiny_model: Path) -> None:
    engine = Engine()
    engine.start()
    async with open_screen(engine=engine, model=str(tiny_model)) as shown:
        studio = shown.studio
        studio.change_many(
            {"max_steps": 6, "max_samples": 16, "logging_steps": 1, "save_steps": 3,
             "cutoff_len": 128, "max_new_tokens": 4, "do_sample": False, "use_cpu": True}
        )  # fmt: skip
        await shown.press("t")
        await shown.until(lambda: bool(studio.live and studio.live.ended), 200)
        assert studio.live.state == "done", (studio.live.failure, shown.text)
        assert studio.live.steps == [1, 2, 3, 4, 5, 6]
        assert "✓ done" in shown.lines[0]
        (run,) = studio.runs
        assert run.state == "done" and list(run.checkpoints) == [3, 6]

        # Its result is what the chat, evaluate and export panes begin with.
        await shown.press("c")
        assert f"Chat with  {run.name}" in shown.text
        await shown.type("hi")
        await shown.press("enter")
        chat = shown.app.views["chat"]
        await shown.until(lambda: not chat.answering, 120)  # type: ignore[attr-defined]
        assert chat.turns[-1].role == "assistant" and chat.turns[-1].note  # type: ignore[attr-defined]

        await shown.press("escape", "e")
        evaluate = shown.app.views["evaluate"]
        evaluate.values.update(max_samples=4, per_device_eval_batch_size=2)  # type: ignore[attr-defined]
        await shown.press("g")
        await shown.until(lambda: studio.jobs[evaluate.run].ended, 120)  # type: ignore[attr-defined]
        assert studio.jobs[evaluate.run].state == "done"  # type: ignore[attr-defined]
        assert "perplexity" in shown.text

        await shown.press("x", "g")
        export = shown.app.views["export"]
        await shown.until(lambda: studio.jobs[export.run].ended, 120)  # type: ignore[attr-defined]
        assert studio.jobs[export.run].state == "done"  # type: ignore[attr-defined]
        folder = home / "exports" / run.name
        assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
        assert str(folder.relative_to(home)) in shown.text

        # Stopped in the middle, then on from a checkpoint of choice.
        studio.change_many({"max_steps": 400, "save_steps": 200})
        await shown.press("t")
        await shown.until(lambda: bool(studio.live.steps and studio.live.step > 4), 120)
        await shown.press("s")
        await shown.until(lambda: studio.live.ended, 60)
        assert studio.live.state == "stopped"
        stopped = studio.runs[0]
        assert stopped.state == "stopped" and stopped.checkpoints
        reached = max(stopped.checkpoints)
        studio.change("max_steps", 6)
        await shown.press("4", "home", "r")
        assert f"step {reached}" in shown.text
        await shown.press("enter")
        await shown.until(lambda: bool(studio.live.steps and studio.live.step > reached), 120)
        await shown.press("s")
        await shown.until(lambda: studio.live.ended, 60)
        assert not shown.app._told
