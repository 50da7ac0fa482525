"""rm on the bundled preference set, ppo with that reward model, chat with the result: by keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.worker import Engine

pytestmark = pytest.mark.slow


async def test_a_reward_model_then_ppo_with_it_then_chat(
    open_screen, home: Path, tiny_model: Path
) -> None:
    engine = Engine()
    engine.start()
    async with open_screen((80, 24), engine=engine, model=str(tiny_model)) as shown:
        studio = shown.studio
        # Small, so that it takes seconds; the path itself is walked by keys.
        studio.change_many(
            {"max_samples": 16, "logging_steps": 1, "cutoff_len": 96, "use_cpu": True,
             "do_sample": False, "save_steps": 100, "plot_loss": False}
        )  # fmt: skip
        await shown.press("3", "enter", "right")
        assert studio.config.stage == "rm" and studio.chosen == ["preference"]
        studio.change("max_steps", 3)
        await shown.press("t")
        await shown.until(lambda: bool(studio.live and studio.live.ended), 200)
        assert studio.live.state == "done", (studio.live.failure, shown.text)
        assert "margin" in studio.live.watched and "accuracy" in studio.live.watched
        await shown.press("v")
        assert "accuracy ↑" in shown.text
        rewarder = studio.runs[0]
        assert rewarder.stage == "rm"

        # A reward model can't be talked to: the engine's sentence is shown.
        await shown.press("c", "escape", "o", "down", "enter")
        chat = shown.app.views["chat"]
        assert chat._source().scores  # type: ignore[attr-defined]
        await shown.press("enter")
        await shown.type("hi")
        await shown.press("enter")
        await shown.until(lambda: shown.dialogs > 0, 60)
        assert "is a reward model: it scores answers" in " ".join(
            shown.text.replace("┃", " ").split()
        )
        await shown.press("escape", "escape")

        await shown.press("3", "home", "enter", "home", "right")
        assert studio.config.stage == "ppo"
        assert "ppo learns from a reward, but none" in shown.text
        shown.app.views["settings"].go_to("reward_model")  # type: ignore[attr-defined]
        await shown.press("o", "enter")
        assert Path(studio.config.reward_model or "").name == rewarder.name
        studio.change_many({"max_steps": 2, "max_new_tokens": 8})
        await shown.press("t")
        await shown.until(lambda: studio.live.stage == "ppo" and studio.live.ended, 200)
        assert studio.live.state == "done", (studio.live.failure, shown.text)
        assert "reward" in studio.live.watched
        assert "━ reward ↑" in shown.text
        await shown.press("a")
        assert "Answers   step 2" in shown.text
        await shown.press("escape")

        await shown.press("c", "escape", "o", "down", "enter", "enter")
        assert f"Chat with  {studio.runs[0].name}" in shown.text
        await shown.type("hi")
        await shown.press("enter")
        await shown.until(lambda: not chat.answering, 120)  # type: ignore[attr-defined]
        assert chat.turns[-1].role == "assistant" and chat.turns[-1].note  # type: ignore[attr-defined]
        assert not shown.app._told
