"""Runs on quantised weights: resumes, the reference, stages, adapters, second models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

NF4 = {"quantization_bit": 4}
INT8 = {"quantization_bit": 8}
HQQ4 = {"quantization_bit": 4, "quantization_method": "hqq"}
WAYS = {"nf4": NF4, "int8": INT8, "hqq4": HQQ4}
DATA = Path(__file__).parents[3] / "data"
SETS = {
    "pt": "texts",
    "rm": "preference",
    "dpo": "preference",
    "kto": "feedback",
    "ppo": "identity",
    "grpo": "identity",
    "rloo": "identity",
    "distill": "identity",
}
WRITES = {
    "reward_funcs": "regex",
    "reward_pattern": "[aeiou]{2}.*[aeiou]{2}",
    "max_new_tokens": 8,
}
OWN: dict[str, dict[str, Any]] = {
    "ppo": {**WRITES, "ppo_epochs": 1},
    "grpo": WRITES,
    "rloo": WRITES,
}


@pytest.fixture(autouse=True)
def hqq_is_there(request: pytest.FixtureRequest) -> None:
    if "hqq" in request.node.name:
        pytest.importorskip("hqq")


@pytest.fixture
def run(make_session: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`run(config, name)` trains into a folder of that name; returns the losses by step."""

    def train(config: Any, name: str = "run") -> dict[int, float]:
        session, listener = make_session(tmp_path / name)
        run_training(config, session)
        return {event.step: event.loss for event in listener.of(StepLogged)}

    return train


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def of_stage(stage: str, model: Path, **changes: Any) -> Any:
    return read_flat(
        {
            "model_name_or_path": str(model),
            "stage": stage,
            "dataset": SETS[stage],
            "dataset_dir": str(DATA),
            "max_samples": 16,
            "cutoff_len": 96,
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "teacher_model": str(model) if stage == "distill" else None,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "memory_reserve_gb": 0,
            "do_train": True,
            **OWN.get(stage, {}),
            **changes,
        },
        "stage",
    ).config


@pytest.mark.parametrize("way", ["nf4", "hqq4"])
def test_stopped_and_resumed_is_the_unbroken_run(
    way: str,
    make_config: Callable[..., Any],
    run: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    import torch

    changes = {"max_steps": 5, "lora_dropout": 0.1, **WAYS[way]}
    whole = run(make_config(**changes), "whole")
    session, first = make_session(tmp_path / "run")
    with stopped_at(6):  # in the middle of step 3
        run_training(make_config(**changes), session)
    before = {event.step: event.loss for event in first.of(StepLogged)}
    assert set(before) == {1, 2}
    after = run(make_config(**changes, resume_from_checkpoint=True))
    assert set(after) == {3, 4, 5}
    assert before | after == whole
    resumed = tensors(tmp_path / "run")
    for name, weight in tensors(tmp_path / "whole").items():
        assert torch.equal(weight, resumed[name]), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("way", WAYS)
def test_an_evaluation_in_the_middle_changes_nothing(
    way: str, precision: str, make_config: Callable[..., Any], run: Callable[..., Any]
) -> None:
    kind = {"bf16": False} if precision == "fp32" else {"bf16": False, "pure_bf16": True}
    changes = {"max_steps": 3, "lora_dropout": 0.0, **WAYS[way], **kind}
    alone = run(make_config(**changes), "alone")
    watched = {"eval_dataset": "small", "eval_strategy": "steps", "eval_steps": 1}
    assert run(make_config(**changes, **watched), "watched") == alone
    assert alone[3] < alone[1]


@pytest.mark.parametrize("way", WAYS)
def test_policy_and_reference_begin_equal(
    way: str, reads_as_the_demo: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    losses = run(of_stage("dpo", reads_as_the_demo, bf16=False, **WAYS[way]))
    assert losses[1] == pytest.approx(math.log(2), abs=1e-6)
    import torch

    assert {t.dtype for t in tensors(tmp_path / "run").values()} == {torch.float32}


@pytest.mark.parametrize(
    "stage", [s if s == "rm" else pytest.param(s, marks=pytest.mark.slow) for s in SETS]
)
def test_every_stage_trains_on_four_bits(
    stage: str, reads_as_the_demo: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    import torch

    losses = run(of_stage(stage, reads_as_the_demo, **NF4))
    assert list(losses) == [1, 2, 3]
    assert all(math.isfinite(loss) for loss in losses.values())
    saved = tensors(tmp_path / "run")
    # TRL would hold them in bf16, a reward model's head too.
    assert {t.dtype for t in saved.values()} == {torch.float32}
    if stage != "distill":  # a student of itself has nothing to learn
        assert any(t.abs().max() > 0 for n, t in saved.items() if "lora_B" in n)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["rslora", "dora", "oft"])
def test_other_adapters_train_and_come_back(
    kind: str, way: str, make_config: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    import torch

    from engine.models import attach_adapters, choose_precision, load_model

    adapter: dict[str, Any] = {
        "rslora": {"use_rslora": True},
        "dora": {"use_dora": True},
        "oft": {"finetuning_type": "oft", "oft_block_size": 16, "learning_rate": 1e-3},
    }[kind]
    config = make_config(max_steps=3, lora_dropout=0.0, **WAYS[way], **adapter)
    losses = run(config)
    assert all(math.isfinite(loss) for loss in losses.values())
    config = replace(config, do_train=False)
    precision = choose_precision(config, "cpu", for_training=False)
    base = Path(config.model_name_or_path)
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        model = load_model(base, config, precision, "cpu", False)
        before = model(input_ids=ids).logits
        back = attach_adapters(model, [tmp_path / "run"], precision, trainable=False)
        after = back(input_ids=ids).logits
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


@pytest.mark.slow
def test_a_named_reference_is_held_in_its_own_bits(
    reads_as_the_demo: Path,
    save_copy: Callable[[Path], Path],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    from engine.training import references

    held: list[Any] = []
    load = references.load_frozen

    def seen(*args: Any, **options: Any) -> Any:
        held.append(load(*args, **options))
        return held[-1]

    monkeypatch.setattr(references, "load_frozen", seen)
    other = save_copy(reads_as_the_demo)
    for bits, kind in ((8, Linear8bitLt), (4, Linear4bit), (None, None)):
        config = of_stage(
            "dpo",
            reads_as_the_demo,
            ref_model=str(other),
            ref_model_quantization_bit=bits,
            **NF4,
        )
        losses = run(config, f"run-{bits}")
        assert all(math.isfinite(loss) for loss in losses.values())
        layers = {type(m) for n, m in held[-1].named_modules() if n.endswith("_proj")}
        assert len(layers) == 1
        if kind is None:
            assert not issubclass(layers.pop(), Linear4bit | Linear8bitLt)
        else:
            assert issubclass(layers.pop(), kind)


@pytest.mark.slow
def test_a_whole_reward_model_is_held_in_its_own_bits(
    reads_as_the_demo: Path, run: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    from bitsandbytes.nn import Linear8bitLt

    from engine.export import run_export
    from engine.runs.session import JobSession
    from engine.training.rewards import model as rewards

    run(of_stage("rm", reads_as_the_demo), "scorer")
    whole = of_stage(
        "rm",
        reads_as_the_demo,
        adapter_name_or_path=str(tmp_path / "scorer"),
        export_dir=str(tmp_path / "whole"),
    )
    run_export(whole, JobSession("export", None, lambda event: None))
    held: list[Any] = []
    load = rewards.load_frozen

    def seen(*args: Any, **options: Any) -> Any:
        held.append(load(*args, **options))
        return held[-1]

    monkeypatch.setattr(rewards, "load_frozen", seen)
    config = of_stage(
        "grpo",
        reads_as_the_demo,
        reward_funcs=None,
        reward_pattern=None,
        reward_model=str(tmp_path / "whole"),
        reward_model_type="full",
        reward_model_quantization_bit=8,
    )
    run(config)
    (model,) = held
    layers = [m for n, m in model.named_modules() if n.endswith("_proj")]
    assert layers and all(isinstance(layer, Linear8bitLt) for layer in layers)


@pytest.fixture
def save_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """A second model with the same tokenizer and other weights."""

    def save(folder: Path) -> Path:
        import shutil

        import torch
        from safetensors.torch import load_file, save_file

        other = tmp_path / "other"
        shutil.copytree(folder, other)
        weights = load_file(other / "model.safetensors")
        torch.manual_seed(5)
        moved = {n: w + 0.01 * torch.randn_like(w) for n, w in weights.items()}
        save_file(moved, other / "model.safetensors", {"format": "pt"})
        return other

    return save


@pytest.mark.parametrize("kind", ["plain", "dora"])
def test_a_merge_goes_into_the_weights_in_full(
    kind: str, make_config: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    from engine.export import run_export
    from engine.runs.session import JobSession

    adapter = {"use_dora": kind == "dora"}
    config = make_config(max_steps=2, lora_dropout=0.0, **NF4, **adapter)
    run(config)
    files = []
    for bits in (4, None):
        target = tmp_path / f"merged-{bits}"
        merge = replace(
            config,
            quantization_bit=bits,
            adapter_name_or_path=str(tmp_path / "run"),
            export_dir=str(target),
        )
        run_export(merge, JobSession("export", None, lambda event: None))
        files.append((target / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_chat_loads_the_base_in_the_bits_it_was_trained_in(
    make_config: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    from bitsandbytes.nn import Linear4bit

    from engine.models.inference import load_for_inference
    from engine.runs.session import JobSession

    config = make_config(max_steps=2, **NF4)
    run(config)
    asked = replace(config, do_train=False, adapter_name_or_path=str(tmp_path / "run"))
    loaded = load_for_inference(asked, JobSession("chat", None, lambda event: None))
    assert any(isinstance(m, Linear4bit) for m in loaded.model.modules())


def test_an_adapter_trains_on_upon_few_bits(
    make_config: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    first = run(make_config(max_steps=3, lora_dropout=0.0, **NF4), "first")
    on = make_config(
        max_steps=3,
        lora_dropout=0.0,
        adapter_name_or_path=str(tmp_path / "first"),
        **NF4,
    )
    assert run(on, "second")[1] < first[1]


def test_a_quantised_checkpoint_is_not_merged_into(
    model_folder: Path, make_config: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    """Rule 54."""
    import shutil

    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from engine.export import run_export
    from engine.runs.session import JobSession

    packed = tmp_path / "packed"
    shutil.copytree(model_folder, packed)
    told = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(
        model_folder, quantization_config=told, device_map={"": "cpu"}
    ).save_pretrained(packed)
    config = make_config(model_name_or_path=str(packed), max_steps=3)
    losses = run(config)
    assert all(math.isfinite(loss) for loss in losses.values())
    merge = replace(
        config, adapter_name_or_path=str(tmp_path / "run"), export_dir=str(tmp_path / "merged")
    )
    with pytest.raises(BadInput) as caught:
        run_export(merge, JobSession("export", None, lambda event: None))
    assert "quantised" in caught.value.problem.what
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("way", WAYS)
def test_activations_computed_again_give_the_same_run(
    way: str,
    make_config: Callable[..., Any],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(max_steps=3, lora_dropout=0.0, **WAYS[way])
    kept = run(replace(config, disable_gradient_checkpointing=True), "kept")
    monkeypatch.setattr("engine.training.memory_plan.plan_checkpointing", lambda *_: (True, ""))
    again = run(config, "again")
    assert again == pytest.approx(kept, abs=1e-6)
    assert kept[3] < kept[1]


@pytest.mark.slow
def test_a_reward_adapter_shares_the_base_in_four_bits(
    reads_as_the_demo: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    run(of_stage("rm", reads_as_the_demo, **NF4), "scorer")
    config = of_stage(
        "grpo",
        reads_as_the_demo,
        reward_funcs=None,
        reward_pattern=None,
        reward_model=str(tmp_path / "scorer"),
        reward_model_type="lora",
        **NF4,
    )
    losses = run(config)
    assert all(math.isfinite(loss) for loss in losses.values())
