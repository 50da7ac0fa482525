"""What the screen does about the stage: its sets, its rows, its first values, its models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.events import JobFinished, RunDescribed, StateChanged, StepLogged, to_json
from engine.worker import TrainJob
from tui.panes.row_views import MOST_WORDS, told_apart

STAGES = {
    "pt": ["texts", "identity", "instructions", "tools"],
    "sft": ["identity", "instructions", "tools"],
    "rm": ["preference"],
    "ppo": ["identity", "instructions", "preference", "tools"],
    "dpo": ["preference"],
    "kto": ["feedback"],
    "grpo": ["identity", "instructions", "preference", "tools"],
    "rloo": ["identity", "instructions", "preference", "tools"],
    "distill": ["identity", "instructions", "tools"],
}


async def use_stage(shown, stage: str) -> None:
    shown.studio.change_stage(stage)
    shown.app.action_form_changed()
    await shown.settle()


async def test_the_sets_follow_the_stage_the_others_are_dimmed_with_the_reason(
    open_screen,
) -> None:
    async with open_screen((80, 24)) as shown:
        await shown.press("2")
        for stage, fitting in STAGES.items():
            await use_stage(shown, stage)
            rows = shown.app.rail.data.rows
            assert {row.key for row in rows[: len(fitting)]} == set(fitting), stage
            assert [row.dim for row in rows] == [False] * len(fitting) + [True] * (
                len(rows) - len(fitting)
            )
            # The reason, or where it is too long for the list the stages that the set is for.
            assert all(row.reason or row.figures[0].startswith("for ") for row in rows if row.dim)
            assert not shown.studio._misfits(shown.studio.config), "its bundled set suits it"
        await use_stage(shown, "dpo")
        assert "identity      its rows are conversations" in shown.text
        assert "for the stage kto" in shown.text


async def test_on_the_rail_a_dimmed_set_names_the_stages_it_is_for(open_screen) -> None:
    async with open_screen() as shown:
        await use_stage(shown, "dpo")
        figures = {row.key: row.figures for row in shown.app.rail.data.rows}
        assert figures["preference"] == ("80 pairs",)
        assert figures["feedback"] == ("for kto",) and figures["texts"] == ("for pt",)
        assert figures["identity"] == ("for sft, pt …",)


async def test_a_chosen_set_that_does_not_suit_is_a_fault_before_anything_starts(
    open_screen,
) -> None:
    async with open_screen() as shown:
        shown.studio.change_many({"stage": "dpo", "dataset": "identity"})
        shown.app.action_form_changed()
        row = next(row for row in shown.app.rail.data.rows if row.key == "identity")
        assert (row.mark, row.mark_role, row.dim) == ("!", "warning", False)
        assert "→ 1 fault: Enter" in shown.text
        await shown.press("t")
        assert shown.dialogs == 1 and shown.studio.live is None
        assert "The set identity does not suit the stage dpo" in shown.text


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_another_stage_brings_its_first_values_and_says_so(open_screen, size) -> None:
    async with open_screen(size) as shown:
        await shown.press("3", "enter", "right")
        config = shown.studio.config
        assert (config.stage, config.dataset, config.learning_rate) == ("rm", "preference", 1e-4)
        text = " ".join(shown.text.replace("┃", " ").split())
        assert "With it: Epochs 3" in text and "Datasets preference" in text
        await shown.press("left")
        assert shown.studio.config.stage == "sft" and shown.studio.config.dataset == "identity"
        assert shown.studio.config.learning_rate == 1e-3
        await shown.press("right", "down", "down", "enter")
        await shown.type("2")
        await shown.press("enter")
        # The note goes with the state of the form that it told of.
        assert shown.studio.config.num_train_epochs != 3.0
        assert "With it" not in shown.text
        assert not shown.app._told


async def test_the_sections_of_a_stage_appear_and_vanish(open_screen) -> None:
    async with open_screen((120, 60)) as shown:
        await shown.press("3", "enter")
        form = shown.app.views["settings"].form  # type: ignore[attr-defined]

        def keys() -> set[str]:
            return {row.key for row in form.rows}

        assert not {"reward_model", "ppo_target", "pref_beta"} & keys()
        await use_stage(shown, "ppo")
        assert {"reward_model", "ppo_target", "ppo_epochs"} <= keys()
        assert "pref_beta" not in keys()
        await use_stage(shown, "dpo")
        assert {"pref_beta", "pref_loss"} <= keys() and "ppo_target" not in keys()
        await use_stage(shown, "distill")
        assert "teacher_model" in keys() and "pref_loss" not in keys()


# Rows


async def look_at(shown, stage: str, name: str) -> list[str]:
    await use_stage(shown, stage)
    shown.app.rail.data.select(name)
    await shown.press("2", "enter")
    return shown.app.views["data"].row_panel.picture_lines()  # type: ignore[attr-defined,no-any-return]


async def test_a_pair_stands_one_above_the_other_at_80_columns(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        lines = await look_at(shown, "dpo", "preference")
        heads = [line.strip("┃ ") for line in lines]
        assert "pair · tokens · raw" in lines[0]
        assert heads.index("user") < heads.index("✓ chosen") < heads.index("✗ rejected")


@pytest.mark.parametrize("size", [(120, 40), (200, 50)])
async def test_a_pair_stands_side_by_side_where_there_is_room(open_screen, size) -> None:
    async with open_screen(size) as shown:
        lines = await look_at(shown, "dpo", "preference")
        head = next(line for line in lines if "✓ chosen" in line)
        assert "✗ rejected" in head
        column = head.index("│")
        below = lines[lines.index(head) :]
        assert sum(line[column : column + 1] == "│" for line in below) >= 3
        assert not shown.app._told


async def test_what_differs_in_a_pair_is_marked_and_underlined(open_screen, home: Path) -> None:
    row = {
        "instruction": "q", "input": "", "chosen": "The sky is blue today.",
        "rejected": "The sky is [b]green[/b] \x1b[31m今天 today.",
    }  # fmt: skip
    folder = home / "sets"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps([row]), encoding="utf-8")
    registry = {"mine": {"file_name": "mine.json", "ranking": True,
                         "columns": {"prompt": "instruction", "query": "input",
                                     "chosen": "chosen", "rejected": "rejected"}}}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    async with open_screen((80, 24)) as shown:
        shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine", "stage": "dpo"})
        shown.studio.read_datasets()
        shown.app.show()
        await shown.press("2", "enter")
        spans = [span for line in shown.app.views["data"].row_panel._lines for span in line]
        assert ("blue", "ok underline") in spans
        marked = "".join(text for text, role in spans if role == "error underline")
        assert "[b]green[/b]" in marked and "今天" in marked and "The sky" not in marked
        assert "␛[31m" in shown.text and not shown.app._told


def test_texts_are_told_apart_word_by_word_and_long_ones_by_their_ends() -> None:
    one, two = told_apart("a b c", "a x c")
    assert one == [("a ", False), ("b", True), (" c", False)]
    assert two == [("a ", False), ("x", True), (" c", False)]
    assert told_apart("你好吗", "你好呀")[0] == [("你好", False), ("吗", True)]
    assert told_apart("", "new") == ([], [("new", True)])
    long = "word " * MOST_WORDS
    one, two = told_apart(long + "end", long + "other end")
    assert one == [(long, False), ("end", False)]
    assert two == [(long, False), ("other ", True), ("end", False)]


async def test_a_judged_answer_says_first_how_it_was_judged(open_screen) -> None:
    async with open_screen((80, 24)) as shown:
        lines = await look_at(shown, "kto", "feedback")
        assert "feedback · tokens · raw" in lines[0]
        assert lines[2].strip("┃ ") in ("label  ✓ good", "label  ✗ bad")
        seen = {lines[2].strip("┃ ")}
        for _row in range(6):
            await shown.press("down")
            seen.add(shown.app.views["data"].row_panel.picture_lines()[2].strip("┃ "))
        assert seen == {"label  ✓ good", "label  ✗ bad"}


async def test_a_prompt_stands_with_its_reference_and_is_only_asked(
    open_screen, tiny_model: Path
) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        lines = await look_at(shown, "grpo", "identity")
        heads = [line.strip("┃ ") for line in lines]
        assert "prompt · tokens · raw" in lines[0]
        assert heads.index("user") < heads.index("reference answer")
        assert "assistant" not in heads
        pieces = shown.app.views["data"].row.pieces  # type: ignore[attr-defined]
        assert pieces and {piece.part for piece in pieces} == {"prompt"}
        assert "".join(piece.text for piece in pieces).endswith("<|im_start|>assistant\n")
        lines = await look_at(shown, "ppo", "preference")
        heads = [line.strip("┃ ") for line in lines]
        assert "reference answer" in heads and "✗ rejected" not in heads


async def test_pre_training_reads_a_conversation_as_the_text_it_becomes(
    open_screen, tiny_model: Path
) -> None:
    async with open_screen(model=str(tiny_model)) as shown:
        lines = await look_at(shown, "pt", "texts")
        assert "text · tokens · raw" in lines[0]
        await look_at(shown, "pt", "identity")
        pieces = shown.app.views["data"].row.pieces  # type: ignore[attr-defined]
        assert pieces and {piece.part for piece in pieces} <= {"trained", "cut"}


# Runs and models


def write_run(home: Path, name: str, stage: str, *, best: int | None = 10) -> Path:
    """A LoRA run with two checkpoints, as the engine leaves one."""
    run = home / "saves" / "tiny" / "lora" / name
    run.mkdir(parents=True)
    said = [
        StateChanged(run=name, seq=1, time=1e9, state="training"),
        RunDescribed(run=name, seq=2, time=1e9, model="tiny", stage=stage, method="lora", rows=8,
                     eval_rows=2, total_steps=20, epochs=1.0, trainable_parameters=1,
                     parameters=2, precision="fp32", device="cpu", effective_batch=8),
        StepLogged(run=name, seq=3, time=1e9, step=20, total_steps=20, loss=0.4,
                   learning_rate=1e-4, epoch=1.0),
        StateChanged(run=name, seq=4, time=1e9, state="done"),
    ]  # fmt: skip
    (run / "events.jsonl").write_text("".join(to_json(one) + "\n" for one in said))
    (run / "training_args.yaml").write_text(
        f"stage: {stage}\nmodel_name_or_path: demo\nfinetuning_type: lora\n"
        "metric_for_best_model: accuracy\n"
    )
    state = {"best_global_step": best, "best_metric": 0.93, "log_history": [], "max_steps": 20}
    (run / "trainer_state.json").write_text(json.dumps(state if best else {}))
    task = "SEQ_CLS" if stage == "rm" else "CAUSAL_LM"
    for folder in (run, run / "checkpoint-10", run / "checkpoint-20"):
        folder.mkdir(exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(b"x")
        (folder / "adapter_config.json").write_text(
            json.dumps({"task_type": task, "base_model_name_or_path": "demo"})
        )
    for path in [*run.rglob("*"), run]:
        os.utime(path, (1e9, 1e9))
    return run


async def test_the_best_checkpoint_is_marked_by_what_the_run_watched(
    open_screen, home: Path
) -> None:
    write_run(home, "rm-1", "rm")
    async with open_screen() as shown:
        assert shown.app.rail.runs.rows[0].figures[0] == "★0.93"
        await shown.press("4", "enter")
        assert "accuracy 0.93 · step 10" in shown.text
        assert "★ 10, 20" in shown.text


async def test_without_a_best_step_the_last_loss_stands(open_screen, home: Path) -> None:
    write_run(home, "sft-1", "sft", best=None)
    async with open_screen() as shown:
        assert shown.app.rail.runs.rows[0].figures[0] == "0.4"
        await shown.press("4", "enter")
        assert "★" not in shown.text


async def test_a_reward_model_is_marked_and_not_talked_to_unasked(open_screen, home: Path) -> None:
    write_run(home, "rm-1", "rm")
    async with open_screen() as shown:
        await shown.press("c", "escape", "o")
        assert "reward model" in shown.text and "rm-1" in shown.text
        await shown.press("escape")
        view = shown.app.views["chat"]
        assert not view._source().scores  # type: ignore[attr-defined]


async def test_ppo_takes_the_reward_model_of_a_run_by_keys_alone(open_screen, home: Path) -> None:
    run = write_run(home, "rm-1", "rm")
    write_run(home, "sft-1", "sft", best=None)
    async with open_screen((80, 24)) as shown:
        await use_stage(shown, "ppo")
        await shown.press("3", "enter")
        view = shown.app.views["settings"]
        view.go_to("reward_model")  # type: ignore[attr-defined]
        await shown.settle()
        assert "o choose a model" in shown.key_line
        await shown.press("o")
        assert "rm-1" in shown.text and "sft-1" not in shown.text
        await shown.press("enter")
        config = shown.studio.config
        assert Path(config.reward_model or "").resolve() == run.resolve()
        assert config.reward_model_type == "lora"
        assert not shown.studio.problems
        await shown.press("down", "down", "down")
        assert "choose a model" not in shown.key_line


async def test_without_a_reward_model_the_key_says_what_makes_one(open_screen) -> None:
    async with open_screen() as shown:
        await use_stage(shown, "ppo")
        await shown.press("3", "enter")
        shown.app.views["settings"].go_to("reward_model")  # type: ignore[attr-defined]
        await shown.press("o")
        assert shown.dialogs == 0 and "No run of stage rm yet" in shown.text


async def test_a_run_that_ended_early_says_so_in_its_log(open_screen) -> None:
    async with open_screen() as shown:
        run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
        say = shown.studio.inbox.append
        say(StepLogged(run=run, step=40, total_steps=100, loss=0.4, learning_rate=0.0, epoch=0.4))
        say(JobFinished(run=run, result={"folder": "x", "steps": 40, "best_step": 30}))
        say(StateChanged(run=run, state="done"))
        shown.app.take_in()
        await shown.settle()
        text = " ".join(shown.text.replace("│", " ").split())
        assert "Stopped early: the evaluations brought no gain any more. step 40 of 100" in text
        assert "best at step 30" in text
