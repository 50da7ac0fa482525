"""A reward model learns which answers people prefer, and its head survives every way out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from engine.events import Evaluated, StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

GOOD = ["red", "green", "blue", "sun", "moon", "star"]
BAD = ["one", "two", "three", "day", "night", "rain"]
METHODS = {
    "lora": {"finetuning_type": "lora", "lora_dropout": 0.1},
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
}


@pytest.fixture(scope="module")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose better answer names things and whose worse one names numbers and times."""
    draw = random.Random(0)

    def words(of: list[str]) -> str:
        return " ".join(draw.choice(of) for _ in range(draw.randint(1, 3)))

    folder = tmp_path_factory.mktemp("pairs")
    for name, count in (("pairs", 100), ("few", 12), ("held", 40)):
        rows = [
            {"question": f"say {words(GOOD + BAD)}", "better": words(GOOD), "worse": words(BAD)}
            for _ in range(count)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    registry = {
        name: {"file_name": f"{name}.json", "ranking": True, "columns": columns}
        for name in ("pairs", "few", "held")
    }
    (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return folder


@pytest.fixture
def rm_config(make_config: Any, pairs_folder: Path) -> Any:
    def make(**changes: Any) -> Any:
        flat = {
            "stage": "rm",
            "dataset": "few",
            "dataset_dir": str(pairs_folder),
            "num_train_epochs": 1,
        }
        return make_config(**flat | changes)

    return make


@pytest.fixture
def trained(rm_config: Any, make_session: Any, tmp_path: Path) -> Any:
    """Trains a short run; returns its folder."""

    def train(**changes: Any) -> Path:
        run = tmp_path / "run"
        session, _ = make_session(run)
        run_training(rm_config(**changes), session)
        return run

    return train


def scorer(config: Any, session: Any) -> Any:
    from engine.models.inference import load_for_inference

    return load_for_inference(config, session, "score")


def score_texts(loaded: Any, texts: list[str]) -> list[float]:
    from engine.evaluation.scoring import score_rows

    rows = [loaded.encoder.tokenizer.encode(text) for text in texts]
    return score_rows(loaded.model, rows, loaded.encoder.pad_id)


TEXTS = ["<|im_start|>user\nsay sun<|im_end|>", "one two", "red<|im_end|>", "a longer row of words"]


def test_it_learns_a_separable_preference(
    rm_config: Any, make_session: Any, tmp_path: Path, pairs_folder: Path
) -> None:
    from engine.evaluation import run_evaluation

    config = rm_config(
        dataset="pairs",
        eval_dataset="held",
        eval_strategy="epoch",
        save_strategy="epoch",
        num_train_epochs=4,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        lora_dropout=0.0,
    )
    session, heard = make_session(tmp_path / "run")
    result = run_training(config, session)
    evaluations = heard.of(Evaluated)
    best = max(e.metrics["accuracy"] for e in evaluations)
    print([(e.step, round(e.loss, 3), e.metrics["accuracy"]) for e in evaluations])
    assert best >= 0.9
    first = next(e for e in evaluations if e.metrics["accuracy"] == best)
    assert result["best_step"] == first.step  # rule 20 of FLAT_KEYS: it works here
    logged = heard.of(StepLogged)[-1].watched
    assert {"accuracy", "margin", "mean_reward"} <= set(logged)

    # Measured again from the files, it is the same model.
    session, _ = make_session(tmp_path / "measured")
    again = run_evaluation(
        rm_config(
            dataset=None,
            eval_dataset="held",
            do_train=False,
            do_eval=True,
            adapter_name_or_path=str(tmp_path / "run"),
        ),
        session,
    )
    assert again["eval_accuracy"] == best
    assert again["eval_samples"] == 40
    assert again["eval_loss"] == pytest.approx(first.loss, abs=1e-5)
    assert again["eval_margin"] == pytest.approx(first.metrics["margin"], abs=1e-4)
    assert again["eval_mean_reward"] == pytest.approx(first.metrics["mean_reward"], abs=1e-4)
    stored = json.loads((tmp_path / "measured" / "eval_results.json").read_text())
    assert stored["eval_accuracy"] == best


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_every_method_and_precision_trains_saves_and_scores(
    method: str,
    kind: str,
    trained: Any,
    rm_config: Any,
    make_session: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import load_file

    from engine.models import precision

    # bf16 is emulated where the processor has none, which is slow and right.
    monkeypatch.setattr(precision, "bf16_in_hardware", lambda device: True)
    run = trained(**METHODS[method], bf16=kind == "bf16")
    head = load_file(str(run / "value_head.safetensors"))
    weights = load_file(str(next(run.glob("*model.safetensors"))))
    (stored,) = (value for name, value in weights.items() if name.endswith("score.weight"))
    assert stored.dtype == head["v_head.summary.weight"].dtype
    assert stored.equal(head["v_head.summary.weight"])
    loaded = scorer(
        rm_config(adapter_name_or_path=str(run), infer_dtype="float32"),
        make_session(tmp_path / "scored")[0],
    )
    found = score_texts(loaded, TEXTS)
    assert len(set(found)) == len(TEXTS)
    # A row's score does not depend on what it is padded with, or beside.
    assert score_texts(loaded, TEXTS[:1]) == pytest.approx(found[:1], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("look", [4, pytest.param(5, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_bit_for_bit(
    method: str, look: int, rm_config: Any, make_session: Any, tmp_path: Path
) -> None:
    """Rule 53 of FLAT_KEYS: reward models resume, with every method."""
    config = rm_config(**METHODS[method])

    def outcome(run: Path, heard: list[Any]) -> tuple[dict, dict]:
        lines = {}
        for listener in heard:
            for e in listener.of(StepLogged):
                lines[e.step] = (e.loss, e.grad_norm, tuple(sorted(e.watched.items())))
        files = [*run.glob("*model.safetensors"), run / "value_head.safetensors"]
        return lines, {file.name: file.read_bytes() for file in files}

    session, heard = make_session(tmp_path / "whole")
    run_training(config, session)
    expected = outcome(tmp_path / "whole", [heard])

    run = tmp_path / "stopped"
    session, first = make_session(run)
    with stopped_at(look):
        run_training(config, session)
    session, second = make_session(run)
    run_training(rm_config(**METHODS[method], resume_from_checkpoint=True), session)
    assert outcome(run, [first, second]) == expected


def test_head_of_the_usual_tool_is_read(
    rm_config: Any, make_config: Any, make_session: Any, tmp_path: Path
) -> None:
    """Its reward models are language-model adapters with the head in a file beside them."""
    import torch

    from engine.models.value_head import write_value_head

    run = tmp_path / "theirs"
    session, _ = make_session(run)
    run_training(make_config(max_steps=2), session)
    torch.manual_seed(3)
    weight, bias = torch.randn(1, 32), torch.tensor([0.25])
    write_value_head(run, weight, bias)
    config = rm_config(adapter_name_or_path=str(run))
    loaded = scorer(config, make_session(tmp_path / "a")[0])
    found = score_texts(loaded, TEXTS)

    from engine.models.inference import load_for_inference

    plain = load_for_inference(
        make_config(adapter_name_or_path=str(run)), make_session(tmp_path / "b")[0]
    )
    for text, score in zip(TEXTS, found, strict=True):
        ids = torch.tensor([plain.encoder.tokenizer.encode(text)])
        with torch.no_grad():
            hidden = plain.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        assert score == pytest.approx(float(hidden[0, -1] @ weight[0] + bias), abs=1e-4)

    # Trained on, it keeps that head's bias, which pairs can't tell anything about.
    session, _ = make_session(tmp_path / "on")
    run_training(config, session)
    from engine.models.value_head import read_value_head

    after = read_value_head(tmp_path / "on")
    assert after is not None
    assert not torch.equal(after[0], weight)
    assert after[1].item() == pytest.approx(0.25)
    again = scorer(
        rm_config(adapter_name_or_path=str(tmp_path / "on")), make_session(tmp_path / "c")[0]
    )
    from engine.models.score_head import score_layer

    assert score_layer(again.model).weight.equal(after[0])
    assert score_layer(again.model).bias.equal(after[1])


def test_a_reward_model_does_not_chat(trained: Any, rm_config: Any, make_session: Any) -> None:
    """Rule 55 of FLAT_KEYS."""
    from engine.chat import Chatter

    run = trained(max_steps=1)
    config = rm_config(stage="sft", dataset=None, do_train=False, adapter_name_or_path=str(run))
    session, _ = make_session(run.parent / "chat")
    with pytest.raises(BadInput, match="is a reward model: it scores answers") as caught:
        Chatter(config, session)
    assert "stage: rm" in caught.value.problem.hint


def test_a_language_model_gives_no_scores(
    rm_config: Any, make_session: Any, tmp_path: Path
) -> None:
    """Rule 55 of FLAT_KEYS."""
    from engine.evaluation import run_evaluation

    config = rm_config(dataset=None, eval_dataset="held", do_train=False, do_eval=True)
    with pytest.raises(BadInput, match="no reward model"):
        run_evaluation(config, make_session(tmp_path / "none")[0])


@pytest.mark.parametrize("method", METHODS)
def test_the_last_token_is_read_even_where_it_also_pads(
    method: str,
    trained: Any,
    model_folder: Path,
    rm_config: Any,
    make_session: Any,
    tmp_path: Path,
) -> None:
    """Exported, transformers' own forward gives the same scores, alone and in a padded batch."""
    import shutil

    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from engine.export import run_export

    base = tmp_path / "padded-with-its-end"
    shutil.copytree(model_folder, base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    config = json.loads((base / "config.json").read_text())
    config["pad_token_id"] = tokenizer.eos_token_id
    (base / "config.json").write_text(json.dumps(config))
    run = trained(**METHODS[method], model_name_or_path=str(base))
    settings = {"model_name_or_path": str(base), "adapter_name_or_path": str(run)}
    loaded = scorer(rm_config(**settings), make_session(tmp_path / "scored")[0])
    expected = score_texts(loaded, TEXTS)

    target = tmp_path / "exported"
    result = run_export(
        rm_config(**settings, do_train=False, dataset=None, export_dir=str(target)),
        make_session(tmp_path / "export")[0],
    )
    assert result["loads_as"] == "AutoModelForSequenceClassification"
    model = AutoModelForSequenceClassification.from_pretrained(target, dtype=torch.float32)
    own = AutoTokenizer.from_pretrained(target)
    assert model.config.num_labels == 1
    assert own.pad_token_id == model.config.pad_token_id != own.eos_token_id
    batch = own(TEXTS, return_tensors="pt", padding=True, padding_side="right")
    with torch.no_grad():
        together = model(**batch).logits[:, 0].tolist()
        alone = [model(**own(t, return_tensors="pt")).logits[0, 0].item() for t in TEXTS]
    assert together == pytest.approx(expected, abs=1e-5)
    assert alone == pytest.approx(expected, abs=1e-5)
    assert (target / "value_head.safetensors").is_file()
    assert not (target / "Modelfile").exists()
    names = {path.name for path in target.glob("*.safetensors")}
    assert names == {"model.safetensors", "value_head.safetensors"}


def test_an_adapter_that_only_peft_merges_is_exported_with_its_head(
    trained: Any,
    rm_config: Any,
    make_session: Any,
    tmp_path: Path,
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from engine.export import run_export

    run = trained(max_steps=3, use_dora=True)
    config = rm_config(adapter_name_or_path=str(run))
    loaded = scorer(config, make_session(tmp_path / "scored")[0])
    target = tmp_path / "exported"
    run_export(
        rm_config(
            adapter_name_or_path=str(run), do_train=False, dataset=None, export_dir=str(target)
        ),
        make_session(tmp_path / "export")[0],
    )
    model = AutoModelForSequenceClassification.from_pretrained(target, dtype=torch.float32)
    ids = [loaded.encoder.tokenizer.encode(text) for text in TEXTS]
    with torch.no_grad():
        found = [model(torch.tensor([row])).logits.item() for row in ids]
    assert found == pytest.approx(score_texts(loaded, TEXTS), abs=1e-5)
