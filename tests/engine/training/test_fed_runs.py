"""Runs on packed conversations, on kept tokens, and measured set by set."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.datasets.encode import Encoded
from engine.datasets.packing import pack_whole
from engine.datasets.stage_rows import TokenRows
from engine.events import Evaluated, LogLine, StepLogged
from engine.training import run_training
from engine.training.collate import EndToEnd, Padded, Unpacked
from engine.training.dataset import to_dataset


@pytest.fixture
def train(tmp_path: Path, make_config: Any, make_session: Callable[..., Any]) -> Any:
    def run(name: str = "run", **changes: Any) -> tuple[dict[str, Any], Any, Path]:
        session, heard = make_session(tmp_path / name)
        result = run_training(make_config(**changes), session)
        return result, heard, tmp_path / name

    return run


def random_rows(count: int = 9) -> TokenRows:
    generator = torch.Generator().manual_seed(3)
    rows = TokenRows()
    for place in range(count):
        length = 3 + place % 5
        ids = torch.randint(3, 90, (length,), generator=generator).tolist()
        rows.append(Encoded(ids, [False] + [True] * (length - 1), 0, ""))
    return rows


def losses(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The loss of each trained position."""
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "shift_labels", "tokens")}
    logits = model(**inputs, use_cache=False).logits
    targets = batch["shift_labels"].reshape(-1)
    every = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets, reduction="none"
    )
    return every[targets >= 0].detach()


@pytest.mark.parametrize("form", ["padded", "by rows", "by positions"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_row_sees_another(form: str, attention: str, model_folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    from engine.training import attention as rows_attention

    if form == "by rows" and attention == "eager":
        pytest.skip("attention row by row is sdpa's")
    model = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation=attention)
    model.eval()
    rows = random_rows()
    packed = pack_whole(rows, 16, 1000)
    in_order = [part for row in packed for part in _parts(row)]
    alone = torch.cat([losses(model, Padded(0)([part])) for part in in_order])
    if form == "by rows":
        model.set_attn_implementation(rows_attention.register())
    collate = {
        "padded": Unpacked(Padded(0)),
        "by rows": Unpacked(EndToEnd()),
        "by positions": Unpacked(EndToEnd(by_rows=False)),
    }[form]
    together = losses(model, collate([packed[place] for place in range(len(packed))]))
    assert torch.allclose(together, alone, atol=1e-5)


def _parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    from engine.datasets.packing import unpacked

    return unpacked(row)


def test_rows_that_do_see_one_another_are_told_by_the_numbers(model_folder: Path) -> None:
    """The check above can fail: without positions and with a cache rows leak."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    packed = pack_whole(random_rows(), 16, 1000)
    rows = [packed[place] for place in range(len(packed))]
    apart = losses(model, Unpacked(EndToEnd(by_rows=False))(rows))
    batch = Unpacked(EndToEnd(by_rows=False))(rows)
    batch["position_ids"] = torch.arange(batch["input_ids"].shape[1])[None]
    assert not torch.allclose(losses(model, batch), apart, atol=1e-5)


@pytest.mark.parametrize("flash_attn", ["auto", "disabled"])
def test_a_packed_run_learns_the_same_rows(train: Any, flash_attn: str) -> None:
    result, heard, _ = train(packing=True, cutoff_len=64, num_train_epochs=3, flash_attn=flash_attn)
    assert math.isfinite(result["train_loss"])
    told = [event.text for event in heard.of(LogLine)]
    assert any("positions filled" in text for text in told), told
    plain, _, _ = train("plain", num_train_epochs=3, flash_attn=flash_attn)
    assert result["tokens"] == plain["tokens"]
    first, last = heard.of(StepLogged)[0], heard.of(StepLogged)[-1]
    assert last.loss < first.loss


def test_one_packed_step_is_the_step_of_its_rows(train: Any) -> None:
    """All 22 rows in one step, packed or not: the same loss."""
    same = {"num_train_epochs": 1, "lora_dropout": 0.0, "gradient_accumulation_steps": 1}
    packed, _, _ = train(packing=True, cutoff_len=4096, per_device_train_batch_size=1, **same)
    plain, _, _ = train("plain", per_device_train_batch_size=22, **same)
    assert packed["steps"] == plain["steps"] == 1
    assert packed["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-4)


def test_tokens_of_the_flat_arrays_are_the_rows() -> None:
    rows = random_rows()
    quick = to_dataset(rows)
    slow = to_dataset([rows[place] for place in range(len(rows))])
    assert quick.to_dict() == slow.to_dict()
    assert quick.column_names == ["input_ids", "labels", "length"]
    assert len(to_dataset(TokenRows())) == 0


@pytest.fixture
def two_sets(data_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = json.loads((data_folder / "small.json").read_text())
    (folder / "small.json").write_text(json.dumps(rows))
    (folder / "first.json").write_text(json.dumps(rows[:3]))
    (folder / "second.json").write_text(json.dumps(rows[3:10]))
    names = ("small", "first", "second")
    (folder / "dataset_info.json").write_text(
        json.dumps({name: {"file_name": f"{name}.json"} for name in names})
    )
    return folder


def test_each_set_is_measured_and_all_together(train: Any, two_sets: Path) -> None:
    options = {
        "dataset_dir": str(two_sets),
        "eval_dataset": "first,second",
        "eval_strategy": "steps",
        "eval_steps": 3,
        "max_steps": 6,
        "early_stopping_steps": 5,
        "load_best_model_at_end": True,
        "save_steps": 3,
    }
    each, heard, folder = train(eval_on_each_dataset=True, **options)
    whole, heard_whole, _ = train("whole", **options)
    measured, plain = heard.of(Evaluated), heard_whole.of(Evaluated)
    assert len(measured) == len(plain) == 2
    for one, other in zip(measured, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        low, high = sorted((one.metrics["first_loss"], one.metrics["second_loss"]))
        assert low <= one.loss <= high
    lines = [json.loads(line) for line in (folder / "trainer_log.jsonl").open()]
    logged = [line for line in lines if "eval_loss" in line]
    assert all({"eval_first_loss", "eval_second_loss"} <= line.keys() for line in logged)
    results = json.loads((folder / "eval_results.json").read_text())
    assert {"eval_loss", "eval_first_loss", "eval_second_loss"} <= results.keys()
    assert each["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-5)


def test_a_run_from_kept_tokens_is_the_same_run(train: Any, tmp_path: Path) -> None:
    own = str(tmp_path / "tokens")
    first, _, _ = train("one", tokenized_path=own)
    second, heard, _ = train("two", tokenized_path=own)
    assert any("Tokens come from" in event.text for event in heard.of(LogLine))
    assert second["train_loss"] == first["train_loss"]


STREAM = {"streaming": True, "max_steps": 8, "buffer_size": 6, "num_train_epochs": 1}


@pytest.mark.parametrize("stage", ["sft", "pt"])
def test_a_streamed_run_is_the_run_over_the_same_rows(train: Any, stage: str) -> None:
    options = {"stage": stage, "packing": False, "disable_shuffling": True, "max_steps": 8}
    plain, heard_plain, _ = train("plain", **options)
    streamed, heard, _ = train("streamed", **{**STREAM, **options})
    assert streamed["steps"] == 8
    one = [event.loss for event in heard.of(StepLogged)]
    assert one == [event.loss for event in heard_plain.of(StepLogged)]
    assert streamed["tokens"] == plain["tokens"]


def test_a_streamed_run_resumes_at_its_row(train: Any, make_config: Any, tmp_path: Path) -> None:
    whole, heard, _ = train("whole", **STREAM, save_steps=3)
    import shutil

    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for folder in (tmp_path / "again").glob("checkpoint-*"):
        if folder.name != "checkpoint-3":
            shutil.rmtree(folder)
    again, heard_again, _ = train("again", **STREAM, save_steps=3, resume_from_checkpoint=True)
    tail = [event.loss for event in heard.of(StepLogged) if event.step > 3]
    assert [event.loss for event in heard_again.of(StepLogged)] == tail
    assert again["tokens"] == whole["tokens"]


def test_a_streamed_run_measures_what_it_held_out(train: Any) -> None:
    result, heard, _ = train("run", **STREAM, val_size=4, eval_strategy="steps", eval_steps=4)
    assert len(heard.of(Evaluated)) == 2
    assert math.isfinite(result["eval_loss"])


@pytest.mark.parametrize("stage", ["rm", "dpo"])
def test_streamed_pairs_train(train: Any, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [{"instruction": f"say {i}", "chosen": "red", "rejected": "blue"} for i in range(12)]
    (folder / "pairs.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    entry = {"file_name": "pairs.json", "ranking": True, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"pairs": entry}))
    result, _, _ = train("run", **STREAM, stage=stage, dataset="pairs", dataset_dir=str(folder))
    assert result["steps"] == 8
    assert math.isfinite(result["train_loss"])


def test_a_polynomial_run_that_is_all_warm_up_ends_well(train: Any) -> None:
    _, heard, _ = train(
        lr_scheduler_type="polynomial", max_steps=2, warmup_steps=2, learning_rate=1e-2
    )
    assert [event.learning_rate for event in heard.of(StepLogged)] == [0.0, 0.005]
