"""What is said of the rows holds in every stage: how many, which are held out, where they are kept,
in which order they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, prepare
from engine.events import Evaluated, LogLine, StepLogged
from engine.training import run_training
from engine.training.dataset import EpochSampler

REWARD = {"reward_funcs": "regex", "reward_pattern": "[aeiou]{2}", "max_new_tokens": 4}
STAGES: dict[str, dict[str, Any]] = {
    "pt": {"packing": False},
    "pt packed": {"stage": "pt", "cutoff_len": 24},
    "sft": {},
    "sft packed": {"stage": "sft", "packing": True, "cutoff_len": 200},
    "rm": {},
    "dpo": {},
    "kto": {},
    "ppo": {**REWARD, "ppo_epochs": 1},
    "grpo": {**REWARD, "num_generations": 2},
    "rloo": {**REWARD, "num_generations": 2},
    "distill": {},
    "distill on samples": {"stage": "distill", "distill_on": "samples", "max_new_tokens": 4},
}
SETS = {"rm": "pairs", "dpo": "pairs", "kto": "feedback"}
ROWS = 30


@pytest.fixture
def config_of(tmp_path: Path, make_config: Any, model_folder: Path) -> Callable[..., Any]:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [
        {
            "instruction": f"say {i % 7}",
            "output": f"it is {i}" + " and so on" * (i * 5 % 9),
            "other": f"no {i}",
            "liked": i % 3 > 0,
        }
        for i in range(ROWS)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "response": "output"}
    pair = {"prompt": "instruction", "chosen": "output", "rejected": "other"}
    info = {
        "plain": {"file_name": "rows.json", "columns": columns},
        "feedback": {"file_name": "rows.json", "columns": {**columns, "kto_tag": "liked"}},
        "pairs": {"file_name": "rows.json", "ranking": True, "columns": pair},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))

    def make(name: str, **changes: Any) -> Any:
        flat = {"stage": name, **STAGES[name], **changes}
        if flat["stage"] == "distill":
            flat["teacher_model"] = str(model_folder)
        chosen = SETS.get(flat["stage"], "plain")
        return make_config(dataset=chosen, dataset_dir=str(folder), **flat)

    return make


@pytest.mark.parametrize("name", [name for name in STAGES if "packed" not in name])
def test_rows_are_counted_held_out_and_kept(
    name: str,
    config_of: Callable[..., Any],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepared(**changes: Any) -> Any:
        config = config_of(name, **changes)
        return prepare(config, Encoder(model_folder, config))

    whole = prepared()
    assert (len(whole.train), len(whole.eval)) == (ROWS, 0)
    first = prepared(max_samples=12)
    assert list(first.train) == [whole.train[place] for place in range(12)]
    share = prepared(val_size=0.25, max_samples=12)
    assert (len(share.train), len(share.eval)) == (9, 3)
    number = prepared(val_size=5)
    assert (len(number.train), len(number.eval)) == (ROWS - 5, 5)
    both = sorted(json.dumps(row) for row in [*number.train, *number.eval])
    assert both == sorted(json.dumps(row) for row in whole.train)
    own = str(tmp_path / "tokens")
    written = prepared(val_size=5, tokenized_path=own)
    monkeypatch.setattr("engine.datasets.preparation.encode_rows", None)  # nothing is encoded
    read = prepared(val_size=5, tokenized_path=own)
    assert list(read.train) == list(written.train) == list(number.train)
    assert list(read.eval) == list(written.eval) == list(number.eval)
    assert any("Tokens come from" in note for note in read.notes)


@pytest.mark.parametrize("name", STAGES)
def test_a_run_from_kept_tokens_grouped_by_length_is_the_same_run(
    name: str,
    config_of: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samplers: list[EpochSampler] = []
    made = EpochSampler.__init__

    def watched(self: EpochSampler, *args: Any) -> None:
        made(self, *args)
        samplers.append(self)

    monkeypatch.setattr(EpochSampler, "__init__", watched)

    def run(folder: str) -> tuple[list[float], list[float], list[str]]:
        session, heard = make_session(tmp_path / folder)
        config = config_of(
            name,
            max_samples=20,
            val_size=0.2,
            tokenized_path=str(tmp_path / "tokens"),
            train_sampling_strategy="group_by_length",
            max_steps=2,
            eval_strategy="steps",
            eval_steps=2,
        )
        run_training(config, session)
        trained = [event.loss for event in heard.of(StepLogged)]
        measured = [event.loss for event in heard.of(Evaluated)]
        return trained, measured, [event.text for event in heard.of(LogLine)]

    trained, measured, _ = run("one")
    again, measured_again, said = run("two")
    assert len(trained) == 2 and len(measured) == 1
    assert (again, measured_again) == (trained, measured)
    assert any("Tokens come from" in text for text in said)
    sampler = samplers[-1]
    order = [sampler.lengths[place] for place in sampler.order(0)]
    assert sampler.strategy == "group_by_length"
    assert sorted(order) == sorted(sampler.lengths)
    if "packed" not in name:
        assert len(order) == 16
    # The longest row first, and within each step rows of like length, the longer ones first.
    assert order[0] == max(order)
    steps = [order[start : start + sampler.step] for start in range(0, len(order), sampler.step)]
    assert all(step == sorted(step, reverse=True) for step in steps)
