"""The forecast's parts against numbers worked out by hand and against real state on disk."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.card import card_of, demo_card
from engine.models.memory import disk_bytes, forecast, optimiser_bytes
from engine.telemetry import Machine, MachineGpu

GIB = 1 << 30
PARAMETERS = 134_515_008
LORA = 2_442_240


def machine(bf16: bool = False, gpus: tuple[MachineGpu, ...] = ()) -> Machine:
    return Machine("x", 2, None, bf16, 16 * GIB, False, gpus, None, None)


def told(rows: int | None = 100, bf16: bool = False, **changes: Any) -> Any:
    config = RunConfig(**{"cutoff_len": 512, **changes})
    return forecast(demo_card(), config, rows, machine(bf16))


def test_lora_holds_a_frozen_base_and_a_small_adapter() -> None:
    parts = told(bf16=True)
    assert parts.precision == "bf16"
    assert parts.trainable_parameters == LORA
    assert parts.parameters == PARAMETERS + LORA
    assert parts.weights == 2 * PARAMETERS + 4 * LORA
    assert parts.gradients == 4 * LORA
    assert parts.optimiser == 8 * LORA
    assert parts.limit == 16 * GIB


def test_full_fine_tuning_takes_sixteen_bytes_a_weight() -> None:
    parts = told(finetuning_type="full", bf16=False)
    assert parts.weights + parts.gradients + parts.optimiser == 16 * PARAMETERS
    pure = told(finetuning_type="full", pure_bf16=True)
    assert pure.weights + pure.gradients + pure.optimiser == 8 * PARAMETERS


def test_freeze_is_between() -> None:
    parts = told(finetuning_type="freeze", freeze_trainable_layers=2, bf16=True)
    block = (PARAMETERS - 49152 * 576 - 576) // 30
    assert parts.trainable_parameters == 2 * block
    assert parts.weights == 2 * (PARAMETERS - 2 * block) + 4 * 2 * block


def test_the_total_is_its_parts_and_grows_with_the_batch() -> None:
    small = told(per_device_train_batch_size=1)
    large = told(per_device_train_batch_size=8)
    held = small.weights + small.gradients + small.optimiser + small.runtime
    assert small.total == held + small.activations + small.logits
    assert large.activations == 8 * small.activations
    assert large.logits == 8 * small.logits
    assert large.weights == small.weights


def test_rows_shorter_than_the_cutoff_count_as_they_are() -> None:
    assert told(rows=100, per_device_train_batch_size=4).tokens == 400
    assert told(rows=9999, per_device_train_batch_size=4).tokens == 4 * 512
    assert told(rows=None, per_device_train_batch_size=4).tokens == 4 * 512


def tight(rows: int) -> Any:
    """The forecast on a machine with 1 GiB."""
    config = RunConfig(cutoff_len=512)
    small = Machine("x", 2, None, False, GIB, True, (), None, None)
    return forecast(demo_card(), config, rows, small)


def test_keeping_activations_costs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import device

    monkeypatch.setattr(device, "cpu_build", lambda: False)
    gpu = machine(gpus=(MachineGpu(0, "x", 24 * GIB, (8, 6)),))
    for changes, kept in (({}, False), ({"disable_gradient_checkpointing": True}, True)):
        config = RunConfig(**changes)
        assert forecast(demo_card(), config, 100, gpu).checkpointing is not kept
    kept_all = told(disable_gradient_checkpointing=True).activations
    assert kept_all > 5 * tight(rows=100).activations
    assert told(flash_attn="disabled").activations > told().activations


def test_a_cpu_keeps_activations_where_they_fit() -> None:
    roomy, narrow = told(), tight(rows=100)
    assert (roomy.checkpointing, narrow.checkpointing) == (False, True)
    assert narrow.total < roomy.total


def test_training_on_prompts_has_more_logits() -> None:
    assert told(train_on_prompt=True).logits > told().logits


@pytest.mark.parametrize(
    ("name", "bytes_a_weight"),
    [
        ("adamw_torch", 8),
        ("adamw_torch_fused", 8),
        ("adamw_bnb_8bit", 2),
        ("adamw_torch_4bit", 1),
        ("lion_32bit", 4),
        ("sgd", 0),
        ("adafactor", 0),
    ],
)
def test_optimiser_state(name: str, bytes_a_weight: int) -> None:
    assert optimiser_bytes(name, 1000, 4) == 1000 * bytes_a_weight


def test_a_model_too_large_for_its_gpu_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import device

    monkeypatch.setattr(device, "cpu_build", lambda: False)
    llama_8b = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
        "max_position_embeddings": 8192,
    }
    card = card_of(llama_8b, "8B")
    assert card.parameters == 8_030_261_248
    with_gpu = machine(gpus=(MachineGpu(0, "x", 24 * GIB, (8, 6)),))
    lora = forecast(card, RunConfig(per_device_train_batch_size=1), 512, with_gpu)
    full = forecast(card, RunConfig(finetuning_type="full"), 512, with_gpu)
    assert lora.device == full.device == "cuda:0"
    assert lora.fits
    assert not full.fits


def test_checkpoint_size_equals_what_torch_writes(tmp_path: Any) -> None:
    """AdamW's state dict and the adapter, written for real, within the file formats' overhead."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    values = {
        "vocab_size": 300,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    model = get_peft_model(
        LlamaForCausalLM(LlamaConfig(**values)),
        LoraConfig(r=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights)
    model(
        input_ids=torch.ones(1, 4, dtype=torch.long), labels=torch.ones(1, 4).long()
    ).loss.backward()
    optimiser.step()
    torch.save(optimiser.state_dict(), tmp_path / "optimizer.pt")
    model.save_pretrained(str(tmp_path))
    real = sum(f.stat().st_size for f in tmp_path.iterdir())
    config = RunConfig(lora_rank=32)
    card = card_of({**values, "model_type": "llama"}, "x")
    told = forecast(card, config, 100, machine()).checkpoint - 5_000_000
    assert abs(real - told) < 0.05 * told


def test_disk_counts_the_checkpoints_that_stay() -> None:
    card = demo_card()
    steps = RunConfig(save_strategy="steps", save_steps=10)
    assert disk_bytes(card, steps, 100, 7) == 11 * 7
    limited = RunConfig(save_strategy="steps", save_steps=10, save_total_limit=2)
    assert disk_bytes(card, limited, 100, 7) == 4 * 7
    epochs = RunConfig(save_strategy="epoch", num_train_epochs=3)
    assert disk_bytes(card, epochs, 100, 7) == 4 * 7


def test_a_reference_is_held_where_it_is_another_model() -> None:
    base = told(stage="sft").weights
    assert told(stage="dpo").weights == base  # the adapter switched off
    full = told(stage="sft", finetuning_type="full").weights
    assert told(stage="dpo", finetuning_type="full").weights == full + 4 * PARAMETERS
    assert told(stage="dpo", finetuning_type="full", pref_loss="simpo").weights == full
    assert told(stage="rm", finetuning_type="full").weights == full
    some = {"finetuning_type": "freeze", "freeze_trainable_layers": 1}
    block = told(stage="sft", **some).trainable_parameters
    assert told(stage="dpo", **some).weights == told(stage="sft", **some).weights + 4 * block
    assert told(stage="grpo", finetuning_type="full").weights == full
    assert told(stage="grpo", finetuning_type="full", kl_beta=0.1).weights > full
    elsewhere = {"stage": "dpo", "model_name_or_path": "demo", "ref_model": "some/other-model"}
    assert told(**elsewhere).weights == base + 4 * PARAMETERS
    own = {"stage": "distill", "model_name_or_path": "demo"}
    assert told(**own, teacher_model="demo").weights == base
    assert told(**own, teacher_model="some/other-model").weights == base + 4 * PARAMETERS


def test_pairs_and_answers_make_a_micro_batch_larger() -> None:
    assert told(stage="dpo").tokens == 2 * told(stage="sft").tokens
    assert told(stage="rm").logits == 0
    rows = told(stage="ppo", max_new_tokens=28, per_device_train_batch_size=2)
    assert rows.tokens == 2 * (100 + 28)
