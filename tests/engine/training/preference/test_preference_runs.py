"""Whole dpo runs: every method and precision, the reference, and learning."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.events import Evaluated, StepLogged
from engine.problem import BadInput
from tests.engine.training.preference.cases import METHODS, weights

CORPORA = Path(__file__).parents[5] / "shared/corpora"
NO_REFERENCE = {"orpo", "simpo"}


# -- it runs -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "pure bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_methods_and_precisions(
    method: str, precision: str, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"bf16": False}
    if precision == "bf16":
        monkeypatch.setattr("engine.models.precision.bf16_in_hardware", lambda _: True)
        settings = {"bf16": True}
    elif precision == "pure bf16":
        settings = {"bf16": None, "pure_bf16": True}
    listener = run(
        "run",
        **METHODS[method],
        **settings,
        eval_dataset="held",
        eval_strategy="steps",
        eval_steps=2,
        max_steps=4,
    )
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == [1, 2, 3, 4]
    # Before the first step the policy is the reference. A full bf16 run holds its policy in fp32
    # and its reference in bf16.
    close = 2e-3 if precision == "bf16" and method == "full" else 1e-9
    assert logged[0].loss == pytest.approx(0.6931, abs=1e-3)
    assert abs(logged[0].watched["rewards/margins"]) <= close
    names = {f"rewards/{n}" for n in ("chosen", "rejected", "margins", "accuracies")}
    names |= {"logps/chosen", "logps/rejected"}
    assert names <= logged[0].watched.keys()
    evaluated = listener.of(Evaluated)
    assert [event.step for event in evaluated] == [2, 4]
    assert names <= evaluated[0].metrics.keys()
    assert any((tmp_path / "run").glob("*model.safetensors"))
    written = [json.loads(x) for x in (tmp_path / "run/trainer_log.jsonl").read_text().splitlines()]
    assert any("rewards/margins" in line for line in written)


@pytest.mark.parametrize("loss", ["hinge", "ipo", "robust", "kto_pair", "orpo", "simpo"])
def test_other_losses(loss: str, run, built: list[Any]) -> None:
    changes = {"dpo_label_smoothing": 0.1} if loss == "robust" else {}
    listener = run("run", pref_loss=loss, max_steps=3, pref_ftx=0.5, **changes)
    last = listener.of(StepLogged)[-1]
    assert last.step == 3
    assert last.watched["nll_loss"] > 0
    assert ("log_odds_ratio" in last.watched) == (loss == "orpo")
    assert (built[0].reference is None) == (loss in NO_REFERENCE)


def test_mean_over_pairs_where_the_last_batch_is_smaller(run) -> None:
    """9 pairs in batches of 4: eval_loss and eval_rewards are those of 9 single pairs."""
    shared = {"eval_dataset": "held", "eval_strategy": "steps", "eval_steps": 3, "max_steps": 3}
    four = run("four", per_device_eval_batch_size=4, **shared).of(Evaluated)[0]
    one = run("one", per_device_eval_batch_size=1, **shared).of(Evaluated)[0]
    assert four.loss == pytest.approx(one.loss, abs=1e-6)
    assert four.metrics["rewards/margins"] == pytest.approx(
        one.metrics["rewards/margins"], abs=1e-6
    )
    assert four.metrics["rewards/accuracies"] * 9 == pytest.approx(
        round(four.metrics["rewards/accuracies"] * 9), abs=1e-6
    )


@pytest.mark.skipif(not (CORPORA / "dpo_en_demo.json").is_file(), reason="no corpora beside us")
def test_a_set_of_real_pairs(run) -> None:
    """Conversations of several turns with long answers, cut to 128 tokens of a byte-level model."""
    listener = run(
        "run",
        dataset="dpo_en_demo",
        dataset_dir=str(CORPORA),
        max_samples=24,
        cutoff_len=128,
        max_steps=3,
    )
    assert all(event.grad_norm > 0 for event in listener.of(StepLogged))


# -- the reference -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "bases"),
    [
        (METHODS["lora"], 1),
        (METHODS["lora"] | {"pref_loss": "simpo"}, 1),
        (METHODS["freeze"], 1),
        (METHODS["full"], 2),
        (METHODS["full"] | {"pref_loss": "orpo"}, 1),
    ],
    ids=["lora", "lora simpo", "freeze", "full", "full orpo"],
)
def test_models_held(changes: dict, bases: int, run, built: list[Any]) -> None:
    from transformers import LlamaForCausalLM

    gc.collect()
    before = {id(o) for o in gc.get_objects() if isinstance(o, LlamaForCausalLM)}
    run("run", max_steps=1, **changes)
    (trainer,) = built
    if changes["finetuning_type"] == "freeze":
        start = trainer.reference.start
        assert start and all(".layers.2." in name for name in start)  # the trained block alone
    gc.collect()
    held = [o for o in gc.get_objects() if isinstance(o, LlamaForCausalLM) and id(o) not in before]
    assert len(held) == bases
    if changes["finetuning_type"] == "lora":
        assert list(trainer.model.peft_config) == ["default"]
        assert not [name for name, _ in trainer.model.named_parameters() if ".ref." in name]


def test_an_adapter_trained_on_is_compared_with_its_own_beginning(
    run, built: list[Any], tmp_path: Path
) -> None:
    run("first", learning_rate=5e-2, max_steps=4)
    listener = run("second", adapter_name_or_path=str(tmp_path / "first"), max_steps=3)
    watched = [event.watched for event in listener.of(StepLogged)]
    assert watched[0]["rewards/chosen"] == 0 and watched[0]["rewards/margins"] == 0
    assert watched[2]["rewards/margins"] != 0
    trainer = built[1]
    assert list(trainer.model.peft_config) == ["default"]
    saved = tmp_path / "second"
    assert not any("ref" in key.split(".") for key in weights(saved))
    assert not [p for p in saved.rglob("ref")]
    # The beginning is still the first run's adapter, to the bit, while the policy has moved on.
    from safetensors.torch import load_file

    first = load_file(tmp_path / "first/adapter_model.safetensors")
    start = {k.replace(".default.", "."): v for k, v in trainer.reference.start.items()}
    assert start.keys() == first.keys()
    assert all(torch.equal(start[key], first[key]) for key in first)
    assert weights(saved) != weights(tmp_path / "first")


def test_a_new_adapter_on_a_merged_one_is_compared_with_the_merged_model(
    run, tmp_path: Path
) -> None:
    run("first", learning_rate=5e-2, max_steps=4)
    adapter = {"adapter_name_or_path": str(tmp_path / "first")}
    new = run("second", **adapter, create_new_adapter=True, max_steps=1)
    plain = run("third", max_steps=1)
    (one,), (other,) = new.of(StepLogged), plain.of(StepLogged)
    assert one.watched["rewards/margins"] == 0
    assert one.watched["logps/chosen"] != pytest.approx(other.watched["logps/chosen"], abs=1e-3)


def test_a_reference_model_of_its_own(run, built: list[Any], tmp_path) -> None:
    """A trained model as reference: log-ratios to it, not to the beginning."""
    run("other", **METHODS["full"] | {"learning_rate": 1e-2}, max_steps=4)
    listener = run("run", ref_model=str(tmp_path / "other"), max_steps=1)
    first = listener.of(StepLogged)[0].watched
    assert first["rewards/margins"] < -1e-3  # the reference prefers the better answers already
    assert not any(p.requires_grad for p in built[1].reference.model.parameters())


def test_the_own_base_as_reference_is_not_loaded_again(
    run, built: list[Any], model_folder: Path, tmp_path: Path
) -> None:
    """An adapter that is trained on, compared with the base that it lies on."""
    run("adapter", learning_rate=2e-2, max_steps=4)
    changes = {"adapter_name_or_path": str(tmp_path / "adapter"), "max_steps": 1}
    (named,) = run("named", ref_model=str(model_folder), **changes).of(StepLogged)
    assert built[1].reference.model is None and built[1].reference.start is None
    assert abs(named.watched["rewards/chosen"]) > 1e-3
    # Where an adapter lies merged under the new one, the base alone is another model.
    run("merged", ref_model=str(model_folder), create_new_adapter=True, **changes)
    assert built[2].reference.model is not None


def test_reference_adapters_are_merged(run, built: list[Any], model_folder: Path, tmp_path) -> None:
    """A policy that begins where base and adapter are finds no difference to them merged."""
    from peft import PeftModel

    run("adapter", learning_rate=2e-2, max_steps=4)
    adapter = str(tmp_path / "adapter")
    merged = {"ref_model": str(model_folder), "ref_model_adapters": adapter, "max_steps": 1}
    (same,) = run("same", adapter_name_or_path=adapter, **merged).of(StepLogged)
    assert abs(same.watched["rewards/chosen"]) < 1e-5
    assert abs(same.watched["rewards/rejected"]) < 1e-5
    assert not isinstance(built[1].reference.model, PeftModel)
    assert list(built[1].model.peft_config) == ["default"]
    (new,) = run("new", **merged).of(StepLogged)
    assert abs(new.watched["rewards/chosen"]) > 1e-3


def test_a_reference_that_reads_text_otherwise_is_refused(
    run, model_folder: Path, tmp_path: Path
) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace('"!"', '"!!"'), encoding="utf-8")
    with pytest.raises(BadInput, match="another vocabulary") as refused:
        run("run", ref_model=str(other), max_steps=1)
    assert refused.value.problem.setting == "ref_model"
    with pytest.raises(BadInput) as refused:
        run("run", ref_model=str(tmp_path / "nowhere"), max_steps=1)
    assert refused.value.problem.setting == "ref_model"


@pytest.mark.slow
@pytest.mark.parametrize("changes", [METHODS["lora"], METHODS["full"]], ids=["lora", "full"])
def test_recomputed_activations_change_nothing(
    changes: dict, run, built: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run("plain", max_steps=3, **changes)
    monkeypatch.setattr("engine.training.memory_plan.plan_checkpointing", lambda *_: (True, ""))
    again = run("again", max_steps=3, **changes)
    assert not built[0].model.is_activation_checkpointing
    assert built[1].model.is_activation_checkpointing
    for one, other in zip(plain.of(StepLogged), again.of(StepLogged), strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-6)
        assert one.watched["logps/chosen"] == pytest.approx(other.watched["logps/chosen"], abs=1e-4)


def test_an_output_layer_trained_whole_is_off_in_the_reference(run, built: list[Any]) -> None:
    listener = run("run", additional_target="lm_head", learning_rate=1e-3, max_steps=4)
    watched = [event.watched["rewards/margins"] for event in listener.of(StepLogged)]
    assert watched[0] == 0 and watched[-1] != 0
    names = [n for n, p in built[0].model.named_parameters() if p.requires_grad]
    assert any("lm_head" in name for name in names)


def test_an_adapter_on_the_output_layer_is_refused(run) -> None:
    with pytest.raises(BadInput) as refused:
        run("run", lora_target="q_proj,lm_head", max_steps=1)
    assert refused.value.problem.setting == "lora_target"


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rise"),
    [
        ({"pref_loss": "sigmoid"}, 0.4),
        ({"pref_loss": "kto_pair"}, 0.4),
        # Rewards are means per token here, times beta.
        ({"pref_loss": "orpo", "pref_beta": 0.5}, 0.1),
        ({"pref_loss": "simpo", "pref_beta": 2.0}, 0.6),
    ],
    ids=lambda value: value["pref_loss"] if isinstance(value, dict) else "",
)
def test_the_margin_on_held_out_pairs_rises(changes: dict, rise: float, run) -> None:
    listener = run(
        "run",
        **changes,
        eval_dataset="held",
        eval_strategy="steps",
        eval_steps=30,
        eval_on_start=True,
        max_steps=30,
    )
    before, after = (event.metrics for event in listener.of(Evaluated)[:2])
    for name in ("rewards/margins", "rewards/accuracies"):
        print(f"{changes['pref_loss']} {name} {before[name]:.3f} -> {after[name]:.3f}")
    assert after["rewards/margins"] > before["rewards/margins"] + rise
    assert after["rewards/accuracies"] >= 0.9
