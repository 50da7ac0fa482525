"""The curves by stage: which measures a run is drawn by, and the answers that it sampled."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from engine.events import (
    Completion,
    Completions,
    Evaluated,
    RunDescribed,
    StateChanged,
    StepLogged,
    to_json,
)
from engine.worker import TrainJob
from tui.dialogs.completions import CompletionsCard
from tui.panes.measure_charts import MeasureCharts

DPO = {"rewards/chosen": 0.5, "rewards/rejected": -0.4, "rewards/margins": 0.9,
       "rewards/accuracies": 0.75, "logps/chosen": -120.0, "logps/rejected": -150.0}  # fmt: skip
GRPO = {"reward": 0.6, "reward_std": 0.2, "kl": 0.01, "entropy": 1.5,
        "clip_ratio/region_mean": 0.02, "completions/mean_length": 88.0}  # fmt: skip


def described(run: str, stage: str) -> RunDescribed:
    return RunDescribed(
        run=run, model="tiny", stage=stage, method="lora", rows=80, eval_rows=8, total_steps=40,
        epochs=1.0, trainable_parameters=1000, parameters=9000, precision="fp32", device="cpu",
        effective_batch=8,
    )  # fmt: skip


def answers(run: str, step: int) -> Completions:
    rows = tuple(
        Completion("What is 3 + 4?", f"[b]{step}[/b] \x1b[31mseven {number}", "7", number / 2,
                   {"exact_match": number / 4, "length": number / 4}, number - 0.5)
        for number in range(3)
    )  # fmt: skip
    return Completions(run=run, step=step, rows=rows)


def told(run: str, stage: str, watched: dict[str, float], steps: int = 20) -> list[object]:
    said: list[object] = [StateChanged(run=run, state="training"), described(run, stage)]
    for step in range(1, steps + 1):
        said.append(
            StepLogged(run=run, step=step, total_steps=40, loss=1 / step, learning_rate=1e-5,
                       epoch=0.1, watched={k: v * step / steps for k, v in watched.items()})
        )  # fmt: skip
        if stage == "grpo" and step % 5 == 0:
            said.append(answers(run, step))
    return said


def fed(shown, stage: str, watched: dict[str, float]) -> str:
    run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
    shown.studio.inbox.extend(told(run, stage, watched))
    shown.app.take_in()
    return run


def charts(shown, view: str = "train") -> MeasureCharts:
    return shown.app.views[view].charts  # type: ignore[attr-defined,no-any-return]


async def test_a_key_walks_through_what_the_stage_is_watched_by(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        fed(shown, "dpo", DPO)
        await shown.settle()
        assert "v measure" in shown.key_line
        heads = []
        for _turn in range(6):
            heads.append(shown.lines[2][2:].split("━")[0].strip())
            await shown.press("v")
        assert heads == ["loss", "rewards", "margin ↑", "accuracy ↑", "log-probs", "loss"]
        await shown.press("left_square_bracket", "left_square_bracket")
        assert "log-probs" in shown.lines[2]
        assert not shown.app._told


async def test_chosen_and_rejected_stand_in_one_picture(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown, "dpo", DPO)
        await shown.press("v")
        chart = charts(shown).first
        assert "━✓ chosen" in shown.text and "━✗ rejected" in shown.text
        assert chart._overlays[0][0] == "rejected"
        corner = next(line for line in shown.lines if "rewards" in line)
        assert " · -0." in corner
        roles = {role for row in chart._drawn[1] for _char, role in row}  # type: ignore[index]
        assert {"series1", "series3"} <= roles
        # Told apart without colours too: chosen ends above, rejected below.
        ends = {char: y for y, row in enumerate(chart._drawn[1]) for char, _role in row}  # type: ignore[index]
        assert ends["✓"] < ends["✗"]


async def test_evaluations_mark_the_measure_and_stand_in_the_log(open_screen) -> None:
    async with open_screen() as shown:
        run = fed(shown, "dpo", DPO)
        metrics = {"rewards/margins": 0.8, "rewards/accuracies": 0.9, "logps/chosen": -9.0}
        shown.studio.inbox.append(Evaluated(run=run, step=20, loss=0.3, metrics=metrics, best=True))
        shown.app.take_in()
        await shown.press("v", "v")
        assert "margin, higher is better" in shown.text and "◆" in shown.text
        assert charts(shown).first._validation == ([20], [0.8])
        assert "validation loss 0.3, margin 0.8, accuracy 0.9, the best so far" in shown.text


async def test_a_stage_of_rewards_opens_on_its_reward(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown, "grpo", GRPO)
        await shown.settle()
        assert "reward, higher is better" in shown.lines[1]
        heads = []
        for _turn in range(6):
            await shown.press("v")
            heads.append(charts(shown).first._words[0])
        assert heads == ["reward spread", "KL", "entropy", "clip share", "answer length", "loss"]
        assert any("reward spread" in line and "0.2 " in line for line in shown.lines)


@pytest.mark.parametrize("size", [(120, 60), (200, 50)])
async def test_where_there_is_room_the_loss_stands_above_the_measure(open_screen, size) -> None:
    async with open_screen(size) as shown:
        fed(shown, "dpo", DPO)
        await shown.settle()
        both = charts(shown)
        assert both.second.display
        assert both.first.picture_lines()[0].startswith("┏━ loss")
        assert both.second.picture_lines()[0].startswith("╭─ rewards")
        await shown.press("v")
        assert both.first.picture_lines()[0].startswith("┏━ loss")
        assert both.second.picture_lines()[0].startswith("╭─ margin")
        assert abs(both.first.size.height - both.second.size.height) <= 1


async def test_help_on_a_chart_explains_what_is_drawn(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown, "dpo", DPO)
        await shown.press("v", "v", "question_mark")
        text = " ".join(shown.text.replace("┃", " ").replace("│", " ").split())
        assert "How far the better answer's reward lies above the worse one's." in text
        assert "Draw the next measure" in text
        await shown.press("escape", "3", "question_mark")
        assert "How far the better" not in shown.text and not shown.app._told


async def test_a_supervised_run_keeps_its_one_picture(open_screen) -> None:
    async with open_screen((200, 50)) as shown:
        fed(shown, "sft", {})
        await shown.press("v")
        assert not charts(shown).second.display
        assert "measure" not in shown.key_line and "answers" not in shown.key_line


async def test_what_a_resume_repeats_replaces_every_measure(open_screen) -> None:
    async with open_screen() as shown:
        run = fed(shown, "grpo", GRPO)
        shown.studio.inbox.append(
            StepLogged(run=run, step=11, total_steps=40, loss=0.1, learning_rate=0.0, epoch=0.1,
                       watched={"reward": 9.0})
        )  # fmt: skip
        shown.studio.inbox.append(answers(run, 12))
        shown.app.take_in()
        live = shown.studio.live
        assert live.watched["reward"] == (list(range(1, 12)), [*live.watched["reward"][1][:10], 9])
        assert [one.step for one in live.completions] == [5, 10, 12]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_the_answers_of_each_step_are_read(open_screen, size) -> None:
    async with open_screen(size) as shown:
        run = fed(shown, "grpo", GRPO)
        await shown.settle()
        assert "a answers" in shown.key_line
        await shown.press("a")
        assert isinstance(shown.app.screen, CompletionsCard)
        assert "Answers   step 20   4 of 4" in shown.text
        assert "mean reward 0.5" in shown.text
        assert "exact_match 0.25 · length 0.25" in shown.text and "advantage +0.5" in shown.text
        # Foreign text is only text, and a group's prompt is read once.
        assert "[b]20[/b] ␛[31mseven 0" in shown.text
        assert shown.text.count("What is 3 + 4?") == 1
        await shown.press("left", "left")
        assert "Answers   step 10   2 of 4" in shown.text
        await shown.press("home", "left")
        assert "step 5   1 of 4" in shown.text
        # The run goes on meanwhile.
        shown.studio.inbox.append(answers(run, 25))
        shown.app.take_in()
        await shown.press("end")
        assert "step 25   5 of 5" in shown.text
        await shown.press("escape")
        assert shown.dialogs == 0 and not shown.app._told


async def test_without_answers_the_key_says_which_stages_have_some(open_screen) -> None:
    async with open_screen() as shown:
        fed(shown, "dpo", DPO)
        await shown.press("a")
        assert shown.dialogs == 0
        assert "No answers yet" in shown.text


async def test_a_finished_run_is_drawn_by_its_stage_and_its_answers_are_read(
    open_screen, home: Path
) -> None:
    run = home / "saves" / "tiny" / "lora" / "grpo-1"
    run.mkdir(parents=True)
    said = [*told("grpo-1", "grpo", GRPO), StateChanged(run="grpo-1", state="done")]
    (run / "events.jsonl").write_text("".join(to_json(one) + "\n" for one in said))  # type: ignore[arg-type]
    points = [{"current_steps": step, "total_steps": 20, "loss": 0.1, "reward": step / 20,
               "kl": 0.1} for step in range(1, 21)]  # fmt: skip
    (run / "trainer_log.jsonl").write_text("".join(json.dumps(p) + "\n" for p in points))
    async with open_screen() as shown:
        await shown.press("4", "enter")
        both = charts(shown, "runs")
        keys = [one.measure.key for one in both._pictures]
        assert keys == ["reward", "kl", "loss"]
        assert math.isclose(both._pictures[0].points[1][-1], 1.0)
        assert "v measure" in shown.key_line and "a answers" in shown.key_line
        await shown.press("a")
        assert "Answers   step 20   4 of 4" in shown.text
        await shown.press("escape")
        assert shown.places == ["runs"] and not shown.app._told
