"""Whole dpo runs: every method and precision, the reference, stop and resume, and learning."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.events import Evaluated, StepLogged
from engine.problem import BadInput, Stopped
from engine.training import run_training
from engine.training.stop import Gate

GOOD = ["sun", "light", "warm", "calm"]
BAD = ["rain", "dark", "cold", "loud"]
METHODS = {
    "lora": {"finetuning_type": "lora"},
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "learning_rate": 1e-3},
}
CORPORA = Path(__file__).parents[4] / "shared/corpora"
NO_REFERENCE = {"orpo", "simpo"}


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Separable pairs: the better answers are made of other words than the worse ones."""
    folder = tmp_path_factory.mktemp("pairs")

    def row(i: int, name: str) -> dict[str, str]:
        return {
            "instruction": f"{name} {i}",
            "chosen": " ".join(GOOD[(i + j) % 4] for j in range(1 + i % 3)),
            "rejected": " ".join(BAD[(i * 3 + j) % 4] for j in range(1 + (i + 1) % 3)),
        }

    info = {}
    for name, count in (("pairs", 22), ("held", 9)):
        rows = [row(i, name) for i in range(count)]
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        info[name] = {
            "file_name": f"{name}.json",
            "ranking": True,
            "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
        }
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


@pytest.fixture
def make_dpo(make_config, pairs_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        return make_config(
            **{
                "stage": "dpo",
                "dataset": "pairs",
                "dataset_dir": str(pairs_folder),
                "lora_dropout": 0.0,
                **changes,
            }
        )

    return make


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that runs build."""
    from engine.training.stages import dpo

    original = dpo.build_trainer
    found: list[Any] = []

    def build(parts: Any) -> Any:
        found.append(original(parts))
        return found[-1]

    monkeypatch.setattr(dpo, "build_trainer", build)
    return found


@pytest.fixture
def run(make_dpo, make_session, tmp_path: Path) -> Callable[..., Any]:
    """Trains into `tmp_path / name`; returns the listener."""

    def train(name: str, **changes: Any) -> Any:
        session, listener = make_session(tmp_path / name)
        run_training(make_dpo(**changes), session)
        return listener

    return train


def weights(folder: Path) -> dict[str, bytes]:
    from safetensors import safe_open

    (file,) = folder.glob("*model.safetensors")
    with safe_open(file, "pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    return {key: tensor.view(torch.uint8).numpy().tobytes() for key, tensor in tensors.items()}


def lines(listener: Any) -> dict[int, tuple]:
    return {
        e.step: (e.loss, e.grad_norm, e.learning_rate, e.tokens, tuple(sorted(e.watched.items())))
        for e in listener.of(StepLogged)
    }


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


def test_mean_over_pairs_where_the_last_batch_is_smaller(run, built: list[Any]) -> None:
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


def test_a_reference_model_of_its_own(run, built: list[Any], model_folder: Path, tmp_path) -> None:
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
    changes: dict, run, built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


# -- stop and resume -----------------------------------------------------------------------------

RESUMED = {
    "lora": METHODS["lora"] | {"lora_dropout": 0.1},
    "lora, logged every 4 steps": METHODS["lora"] | {"logging_steps": 4},
    "full": METHODS["full"],
    "freeze, kto_pair": METHODS["freeze"] | {"pref_loss": "kto_pair"},
    "orpo, NEFTune": METHODS["lora"] | {"pref_loss": "orpo", "neftune_noise_alpha": 5},
    "pure bf16": METHODS["full"] | {"bf16": None, "pure_bf16": True},
}


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("lora", 12),
        ("freeze, kto_pair", 15),
        *(
            pytest.param(name, look, marks=pytest.mark.slow)
            for name, look in [("lora", 4), *((one, 15) for one in RESUMED)]
            if name != "freeze, kto_pair"
        ),
    ],
)
def test_stop_and_resume_is_the_unbroken_run(
    name: str, look: int, run, make_dpo, make_session, tmp_path: Path
) -> None:
    """22 pairs, micro-batch 2, accumulation 2: look 4 is inside a step, 12 and 15 in epoch 2."""
    resumed_equals(RESUMED[name], look, run, make_dpo, make_session, tmp_path)


def test_stop_and_resume_with_an_adapter_trained_on(
    run, make_dpo, make_session, tmp_path: Path
) -> None:
    """The reference stays the adapter's first beginning, not the checkpoint."""
    run("before", learning_rate=5e-2, max_steps=3)
    changes = METHODS["lora"] | {"adapter_name_or_path": str(tmp_path / "before")}
    resumed_equals(changes, 10, run, make_dpo, make_session, tmp_path)


def resumed_equals(
    changes: dict, look: int, run: Any, make_dpo: Any, make_session: Any, tmp_path: Path
) -> None:
    whole = run("whole", **changes)
    session, first = make_session(tmp_path / "broken")
    looks = 0
    original = Gate.pass_through

    def counted(gate: Gate) -> None:
        nonlocal looks
        looks += 1
        if looks == look:
            gate._session.control.stop()
        original(gate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "pass_through", counted)
        with pytest.raises(Stopped):
            run_training(make_dpo(**changes), session)
    second = run("broken", **changes, resume_from_checkpoint=True)
    assert lines(first) | lines(second) == lines(whole)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_best_checkpoint_by_margin(run, tmp_path: Path) -> None:
    """Early stopping and the best checkpoint follow any logged measure."""
    listener = run(
        "run",
        eval_dataset="held",
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        metric_for_best_model="rewards/margins",
        greater_is_better=True,
        load_best_model_at_end=True,
        early_stopping_steps=2,
        max_steps=8,
    )
    margins = [event.metrics["rewards/margins"] for event in listener.of(Evaluated)]
    state = json.loads((tmp_path / "run/trainer_state.json").read_text())
    assert state["best_metric"] == pytest.approx(max(margins))
    assert state["best_global_step"] == margins.index(max(margins)) + 1
    assert weights(tmp_path / "run") == weights(
        tmp_path / f"run/checkpoint-{state['best_global_step']}"
    )


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
