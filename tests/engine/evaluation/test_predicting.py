"""Answers to rows: in batches as one by one, a line and an event each, taken up after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine, PredictionMade, Progress
from engine.problem import BadInput, Stopped


def lines(run: Path) -> list[dict[str, str]]:
    text = (run / "generated_predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def predict(config: Any, session: Any) -> dict[str, Any]:
    from engine.evaluation import run_prediction

    return run_prediction(config, session)


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_batches_answer_as_single_rows_do(
    tmp_path: Path, make_config: Any, make_session: Any, penalty: float
) -> None:
    told = []
    for size in (1, 4):
        config = make_config(
            per_device_eval_batch_size=size,
            eval_dataset="small,other",
            repetition_penalty=penalty,
        )
        session, heard = make_session(tmp_path / f"run{size}")
        predict(config, session)
        told.append([event.predict for event in heard.of(PredictionMade)])
    assert told[0] == told[1] and len(set(told[0])) > 3
    assert lines(tmp_path / "run1") == lines(tmp_path / "run4")


def test_answers_equal_generate_on_the_plain_model(
    model_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    predict(make_config(), make_session(tmp_path / "run")[0])
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    for number, line in enumerate(lines(tmp_path / "run")):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": f"say {line['label'].split()[0]} {number}"}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        assert tokenizer.decode(ids["input_ids"][0]) == line["prompt"]
        out = model.generate(**ids, do_sample=False, max_new_tokens=16, pad_token_id=0)
        answer = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == line["predict"]


def test_files_events_and_results(tmp_path: Path, make_config: Any, make_session: Any) -> None:
    run = tmp_path / "run"
    session, heard = make_session(run)
    result = predict(make_config(eval_dataset="small,other"), session)
    made = heard.of(PredictionMade)
    assert [event.index for event in made] == list(range(9)) and made[0].total == 9
    assert [event.predict for event in made] == [line["predict"] for line in lines(run)]
    # Several turns: asked from the turns before, answered beside the last.
    talk = lines(run)[7]
    assert talk["label"] == "Then it ends." and "Here, at once." in talk["prompt"]
    assert talk["prompt"].startswith("<|im_start|>system\nYou tell stories.")
    assert made[7].prompt == "And now?" and lines(run)[8]["label"] == "我是助手。"
    # The row whose prompt fills the context is left out, and said.
    assert any("1 row left out" in line.text and "256" in line.text for line in heard.of(LogLine))
    mean = sum(event.scores["rouge-l"] for event in made) / 9
    assert result["predict_rouge-l"] == pytest.approx(mean, abs=1e-3)
    assert result["predict_samples"] == 9 and "predict_small_bleu-4" in result
    last = heard.of(Progress)[-1]
    assert (last.activity, last.done, last.total) == ("generating", 9, 9)
    assert json.loads((run / "predict_results.json").read_text()) == result
    assert json.loads((run / "all_results.json").read_text())["predict_bleu-4"] >= 0
    assert sorted(path.name for path in run.iterdir()) == [
        "all_results.json", "events.jsonl", "generated_predictions.jsonl",
        "predict_results.json", "training_args.yaml",
    ]  # fmt: skip


def stopped_after(rows: int, config: Any, run: Path, make_session: Any) -> None:
    session, heard = make_session(run)
    heard.on = lambda event: (
        isinstance(event, PredictionMade) and event.index == rows - 1 and session.control.stop()
    )
    with pytest.raises(Stopped):
        predict(config, session)


@pytest.mark.parametrize("sample", [False, True])
def test_a_stopped_prediction_goes_on_where_it_ended(
    tmp_path: Path, make_config: Any, make_session: Any, sample: bool
) -> None:
    config = make_config(do_sample=sample, temperature=1.2)
    predict(config, make_session(tmp_path / "whole")[0])
    run = tmp_path / "run"
    stopped_after(3, config, run, make_session)
    assert lines(run) == lines(tmp_path / "whole")[:3]
    assert not (run / "predict_results.json").exists()
    with (run / "generated_predictions.jsonl").open("a") as file:
        file.write('{"prompt": "cut in ha')
    session, heard = make_session(run)
    result = predict(config, session)
    assert lines(run) == lines(tmp_path / "whole")
    assert [event.index for event in heard.of(PredictionMade)] == list(range(7))
    assert any("after row 3 of 7" in line.text for line in heard.of(LogLine))
    whole = json.loads((tmp_path / "whole/predict_results.json").read_text())
    same = [name for name in whole if "second" not in name and "runtime" not in name]
    assert {n: result[n] for n in same} == {n: whole[n] for n in same}


@pytest.mark.parametrize("changes", [{"max_new_tokens": 5}, {"adapter": True}])
def test_another_model_or_setting_begins_anew(
    tmp_path: Path,
    adapter_folder: Path,
    make_config: Any,
    make_session: Any,
    changes: dict[str, Any],
) -> None:
    run = tmp_path / "run"
    stopped_after(3, make_config(), run, make_session)
    if changes.pop("adapter", False):
        changes = {"adapter_name_or_path": str(adapter_folder)}
    predict(make_config(**changes), make_session(run)[0])
    predict(make_config(**changes), make_session(tmp_path / "fresh")[0])
    assert lines(run) == lines(tmp_path / "fresh")


def test_a_finished_prediction_is_made_again_in_full(
    tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    run = tmp_path / "run"
    predict(make_config(), make_session(run)[0])
    session, heard = make_session(run)
    predict(make_config(), session)
    assert len(lines(run)) == 7
    assert not any("Going on" in line.text for line in heard.of(LogLine))


def test_bad_input_leaves_an_earlier_prediction_alone(
    tmp_path: Path, data_folder: Path, make_config: Any, make_session: Any
) -> None:
    run = tmp_path / "run"
    predict(make_config(), make_session(run)[0])
    before = lines(run)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "mine.json").write_text(json.dumps([{"instruction": "x" * 500, "output": "y"}]))
    (bad / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    with pytest.raises(BadInput, match="None of the 1 rows"):
        predict(make_config(eval_dataset="mine", dataset_dir=str(bad)), make_session(run)[0])
    assert lines(run) == before


def test_a_tool_call_is_the_reference_as_it_is_written(
    model_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    call = {"name": "weather", "arguments": {"city": "Paris"}}
    talk = [
        {"from": "human", "value": "Weather in Paris?"},
        {"from": "function_call", "value": json.dumps(call)},
    ]
    data = tmp_path / "data"
    data.mkdir()
    (data / "tools.json").write_text(json.dumps([{"conversations": talk, "tools": "[]"}]))
    info = {"tools": {"file_name": "tools.json", "formatting": "sharegpt",
                      "columns": {"messages": "conversations", "tools": "tools"}}}  # fmt: skip
    (data / "dataset_info.json").write_text(json.dumps(info))
    config = make_config(eval_dataset="tools", dataset_dir=str(data))
    predict(config, make_session(tmp_path / "run")[0])
    [line] = lines(tmp_path / "run")
    assert json.loads(line["label"].split("<tool_call>")[1].split("</tool_call>")[0]) == call
