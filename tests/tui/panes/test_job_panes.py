"""Model card, evaluate and export: forms, picking a model, results, and what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.events import JobFailed, JobFinished, PredictionMade, StateChanged
from tui import language
from tui.panes.evaluate import EvaluateView
from tui.panes.export import ExportView
from tui.panes.model import ModelView
from tui.panes.score_words import called
from tui.sources import Source
from tui.widgets.numbers import memory


async def evaluate_of(shown) -> EvaluateView:
    await shown.press("e")
    view = shown.app.views["evaluate"]
    assert isinstance(view, EvaluateView)
    return view


async def test_a_model_card_explains_its_fields(open_screen, tiny_model: Path) -> None:
    async with open_screen() as shown:
        await shown.press("1", "right")
        assert "LlamaForCausalLM" in shown.text and "135 M" in shown.text
        assert "8,192 tokens" in shown.text
        await shown.press(*["pagedown"] * 6)
        assert "chosen as" not in shown.text


async def test_a_model_card_adds_up_the_memory_that_the_rail_tells(open_screen) -> None:
    async with open_screen() as shown:
        forecast = shown.studio.forecast
        assert forecast is not None
        view = ModelView(shown.studio)
        lines = [
            "".join(text for text, _ in line) for line in view._facts(shown.studio.card, forecast)
        ]
        told = [line.split()[-2:] for line in lines[lines.index("") + 1 :] if line.endswith("B")][
            -7:
        ]
        *parts, total = [float(n) * (1024 if unit == "GB" else 1) for n, unit in told]
        assert total == pytest.approx(sum(parts), rel=0.05)
        assert total / 1024 == pytest.approx(float(memory(forecast.total)), abs=0.05)


async def test_a_typed_model_is_taken_listed_and_read(open_screen, tiny_model: Path) -> None:
    async with open_screen() as shown:
        await shown.press("1", "slash", "enter")
        assert "Type a hub id" in shown.text
        await shown.type("x")
        await shown.press("ctrl+u")
        shown.app.focused.value = f"{tiny_model}-mistyped"  # type: ignore[union-attr]
        await shown.press("enter")
        assert "There is no such folder." in shown.text
        shown.app.focused.value = str(tiny_model)  # type: ignore[union-attr]
        await shown.press("enter")
        assert shown.studio.config.model_name_or_path == str(tiny_model)
        assert "tiny-llama" in shown.lines[0]
        keys = [row.key for row in shown.app.rail.model.rows]
        assert str(tiny_model) in keys and f"{tiny_model}-mistyped" not in keys


@pytest.mark.parametrize("content", [None, "{", '{"model_type": "[/b]\\u001b[31m"}'])
async def test_a_folder_that_is_no_model_is_told(open_screen, home: Path, content) -> None:
    folder = home / "models" / "broken [b]"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "config.json").write_text(content, encoding="utf-8")
    async with open_screen(model=str(folder)) as shown:
        assert shown.studio.card_problem is not None
        await shown.press("1", "right", "escape", "escape", "2", "enter")
        assert not shown.app._told and "\x1b" not in shown.text
        # No run begins for it: it is told at once.
        await shown.press("t")
        assert "This can't be run yet" in shown.text
        assert shown.studio.live is None and not (home / "saves").exists()


async def test_evaluation_starts_with_what_its_form_says(open_screen) -> None:
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        view.form.select("max_samples")
        await shown.press("enter", "7", "enter", "g")
        (waits,) = shown.engine.queue
        assert waits.kind == "evaluate"
        assert (waits.job.config.max_samples, waits.job.config.eval_dataset) == (7, "identity")
        assert waits.job.config.do_eval and not waits.job.config.do_train
        assert shown.studio.config.max_samples is None  # the next run is left alone


async def test_a_set_that_is_not_there_is_told_in_a_sentence(open_screen) -> None:
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        view.form.select("eval_dataset")
        await shown.press("enter")
        await shown.type("nowhere")
        assert "There is no set named nowhere." in shown.text
        await shown.press("enter")
        assert view.values["eval_dataset"] == "identity"
        await shown.press("ctrl+u")
        await shown.type("identity,instructions")
        await shown.press("enter")
        assert view.values["eval_dataset"] == "identity,instructions"


async def test_a_set_that_went_away_is_told_when_the_evaluation_starts(open_screen) -> None:
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        view.values["eval_dataset"] = "gone"
        await shown.press("g")
        assert len(shown.engine.queue) == 0
        assert "There is no set named gone." in shown.text
        assert view.form.cursor_key == "eval_dataset"


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (200, 50)])
async def test_rows_appear_as_they_are_answered_the_worst_first(open_screen, size) -> None:
    async with open_screen(size) as shown:
        view = await evaluate_of(shown)
        view.form.select("mode")
        await shown.press("enter", "g")
        (waits,) = shown.engine.queue
        assert waits.kind == "predict"
        for index, score in enumerate((80.0, 10.0, 50.0)):
            shown.studio.inbox.append(
                PredictionMade(run=view.run, time=1.0, index=index, total=50, prompt=f"ask {index}",
                               predict=f"says {index} [/b]", label=f"ref {index}",
                               scores={"bleu-4": score, "rouge-l": 1.0})
            )  # fmt: skip
        shown.app.take_in()
        await shown.settle()
        assert [row.key for row in view.answers.rows] == ["1", "2", "0"]
        assert "BLEU-4 46.7" in shown.text and "3/50" in shown.text
        await shown.press("v")
        assert [row.key for row in view.answers.rows] == ["0", "1", "2"]
        view.answers.focus()
        view.answers.select("1")
        await shown.settle()
        assert "says 1 [/b]" in shown.text and "ref 1" in shown.text
        assert not shown.app._told


async def test_scores_and_faults_stand_in_the_view(open_screen) -> None:
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        assert "Nothing is scored yet" in shown.text
        await shown.press("g")
        say = shown.studio.inbox.append
        say(JobFinished(run=view.run, time=1.0, result={"eval_loss": 0.832, "eval_rows": 50}))
        say(StateChanged(run=view.run, time=1.0, state="done"))
        shown.app.take_in()
        await shown.settle()
        assert "loss 0.83" in shown.text and "rows 50" in shown.text
        # Another model or set may be chosen for the next one: these are still the scores of this.
        view.values["eval_dataset"] = "instructions"
        shown.app.take_in()
        await shown.settle()
        assert "SmolLM2-135M-Instruct · identity ─╮" in shown.text
        await shown.press("g")
        say(JobFailed(run=view.run, time=1.0, what="The set holds no row."))
        say(StateChanged(run=view.run, time=1.0, state="failed"))
        shown.app.take_in()
        await shown.settle()
        await shown.press("escape")
        assert "The set holds no row." in shown.text


async def test_where_there_is_little_room_the_form_makes_way_for_the_rows_that_are_read(
    open_screen,
) -> None:
    async with open_screen((80, 24)) as shown:
        view = await evaluate_of(shown)
        view.form.select("mode")
        await shown.press("enter", "g")
        for index in range(5):
            shown.studio.inbox.append(
                PredictionMade(run=view.run, time=1.0, index=index, total=50, prompt="ask",
                               predict=f"says {index}", label="ref", scores={"bleu-4": 1.0})
            )  # fmt: skip
        shown.app.take_in()
        await shown.press("tab")
        assert view.answers.has_focus and "says 4" in shown.text and "ref" in shown.text
        await shown.press("shift+tab")
        assert view.form.has_focus and "Longest answer" in shown.text


async def test_a_stopped_prediction_keeps_the_scores_of_what_was_answered(open_screen) -> None:
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        view.form.select("mode")
        await shown.press("enter", "g")
        say = shown.studio.inbox.append
        say(PredictionMade(run=view.run, time=1.0, index=0, total=50, prompt="ask", predict="says",
                           label="ref", scores={"bleu-4": 12.5}))  # fmt: skip
        say(StateChanged(run=view.run, time=1.0, state="stopped"))
        shown.app.take_in()
        await shown.settle()
        assert "what was answered stands below" in shown.text and "BLEU-4 12.5" in shown.text


async def test_scores_are_named_and_explained(open_screen) -> None:
    """Each score by its name in the screen's language; `?` tells what it is and can't see."""
    names = {
        "predict_bleu-4": "BLEU-4", "predict_rouge-l": "ROUGE-L", "eval_accuracy": "accuracy",
        "predict_exact_match": "exact match", "predict_samples_per_second": "rows a second",
        "eval_identity_loss": "identity loss", "eval_mean_reward": "mean reward",
        "eval_my_own": "my own",
    }  # fmt: skip
    assert {name: called(name) for name in names} == names
    async with open_screen() as shown:
        view = await evaluate_of(shown)
        await shown.press("question_mark")
        assert "meaning" not in shown.text
        await shown.press("escape")
        view.form.select("mode")
        await shown.press("enter", "g")
        scores = dict.fromkeys(("bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact_match"), 12.5)
        say = shown.studio.inbox.append
        say(PredictionMade(run=view.run, time=1.0, index=6, total=50, prompt="ask", predict="says",
                           label="ref", scores=scores))  # fmt: skip
        say(JobFinished(run=view.run, time=1.0, result={f"predict_{n}": 12.5 for n in scores}))
        shown.app.take_in()
        await shown.settle()
        assert "scores   ? what they mean" in shown.text and "1 · BLEU-4 · row ─╮" in shown.text
        await shown.press("question_mark")
        assert "can't see meaning" in " ".join(shown.text.replace("┃", " ").split())


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40), (200, 50)])
async def test_what_an_export_does_is_told_whole_on_every_size(open_screen, size) -> None:
    async with open_screen(size) as shown:
        await shown.press("x")
        last = (re.search(r"[│┃]([^│┃]*)[│┃]\s*$", line) for line in shown.lines)
        text = " ".join(" ".join(found[1] for found in last if found).split())
        assert "a model folder of its own, with tokenizer" in text and "for Ollama." in text


async def test_what_an_export_made_is_told_in_words(open_screen) -> None:
    result = {"folder": "exports/a", "size": 269e6, "dtype": "bfloat16", "shards": 1,
              "parameters": 134_515_008}  # fmt: skip
    before = language.language()
    try:
        async with open_screen() as shown:
            await shown.press("x", "g")
            language.use("zh_CN")
            run = shown.app.views["export"].run
            shown.studio.inbox.append(JobFinished(run=run, time=1.0, result=result))
            shown.app.take_in()
            await shown.settle()
            for label in ("文件夹 ", "磁盘占用 ", "数值类型 ", "权重文件数 ", "参数 "):
                assert label in shown.text, label
    finally:
        language.use(before)


async def test_export_suggests_a_free_folder_and_starts(open_screen, home: Path) -> None:
    (home / "exports" / "SmolLM2-135M-Instruct").mkdir(parents=True)
    async with open_screen() as shown:
        await shown.press("x")
        view = shown.app.views["export"]
        assert isinstance(view, ExportView)
        assert view.values["export_dir"] == "exports/SmolLM2-135M-Instruct-2"
        view.form.select("export_size")
        await shown.press("enter")
        await shown.type("x")
        await shown.press("enter")
        assert "expected" in shown.text
        await shown.press("ctrl+u", "2", "enter", "g")
        (waits,) = shown.engine.queue
        assert waits.kind == "export" and waits.job.config.export_size == 2
        say = shown.studio.inbox.append
        say(JobFinished(run=view.run, time=1.0, result={"folder": "exports/[b]x", "size": 2.7e8}))
        say(StateChanged(run=view.run, time=1.0, state="done"))
        shown.app.take_in()
        await shown.settle()
        assert 'from_pretrained("exports/[b]x")' in shown.text and "270 MB" in shown.text
        assert "finetui chat 'model_name_or_path=exports/[b]x'" in shown.text


async def test_a_reward_model_is_not_offered_for_talk(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("x", "g")
        result = {"folder": "exports/rm", "loads_as": "AutoModelForSequenceClassification"}
        say, run = shown.studio.inbox.append, shown.app.views["export"].run
        say(JobFinished(run=run, time=1.0, result=result))
        say(StateChanged(run=run, time=1.0, state="done"))
        shown.app.take_in()
        await shown.settle()
        assert 'AutoModelForSequenceClassification.from_pretrained("exports/rm")' in shown.text
        assert "finetui chat" not in shown.text


async def test_the_suggested_folder_is_free_again_after_an_export_and_follows_the_model(
    open_screen, home: Path
) -> None:
    async with open_screen() as shown:
        await shown.press("x", "g")
        view = shown.app.views["export"]
        assert isinstance(view, ExportView)
        (home / "exports" / "SmolLM2-135M-Instruct").mkdir(parents=True)
        shown.app.take_in()
        assert view.values["export_dir"] == "exports/SmolLM2-135M-Instruct"
        shown.studio.inbox.append(StateChanged(run=view.run, time=1.0, state="done"))
        shown.app.take_in()
        assert view.values["export_dir"] == "exports/SmolLM2-135M-Instruct-2"
        # A run that ended meanwhile is the newest model, unless one was picked.
        view.chosen = lambda: Source("sft-2", "demo", "there")  # type: ignore[method-assign]
        shown.app.take_in()
        assert view.values["export_dir"] == "exports/sft-2"
        view.values["export_dir"] = "mine"
        shown.app.take_in()
        assert view.values["export_dir"] == "mine"


async def test_the_model_row_opens_the_list_of_models(open_screen, home: Path) -> None:
    run = home / "saves" / "tiny" / "lora" / "sft-1"
    run.mkdir(parents=True)
    (run / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "demo"}))
    (run / "adapter_model.safetensors").write_bytes(b"x")
    (run / "trainer_log.jsonl").write_text('{"current_steps": 5, "loss": 1.0}\n')
    async with open_screen() as shown:
        await shown.press("x")
        view = shown.app.views["export"]
        assert isinstance(view, ExportView)
        assert view.chosen().adapter.endswith("sft-1")  # type: ignore[union-attr]
        await shown.press("home", "enter")
        assert "Which model" in shown.text
        await shown.press("enter")
        assert view.source is not None and view.source.adapter == ""
        await shown.press("o", "down", "enter")
        assert view.source.adapter.endswith("sft-1")


def test_scores_are_told_as_numbers_of_their_kind() -> None:
    from tui.panes.evaluate import result_lines

    told = result_lines({"eval_loss": 0.2612, "eval_tokens": 89912, "eval_runtime": 134.4})
    assert told == [[("loss 0.261   tokens 89,912   time 2m14s", "text")]]
