"""The forecast's parts against numbers worked out by hand and against real state on disk."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.card import card_of, demo_card
from engine.models.memory import RowFacts, disk_bytes, forecast
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
    assert parts.optimiser == 8 * LORA
    assert parts.limit == 16 * GIB
    # The peak comes before the gradients, unless micro-batches are summed up.
    assert (parts.moment, parts.gradients) == ("loss", 0)
    assert told(bf16=True, gradient_accumulation_steps=2).gradients == 4 * LORA


def test_full_fine_tuning_takes_sixteen_bytes_a_weight() -> None:
    summed = {"finetuning_type": "full", "gradient_accumulation_steps": 2}
    parts = told(**summed, bf16=False)
    assert parts.weights + parts.gradients + parts.optimiser == 16 * PARAMETERS
    pure = told(**summed, pure_bf16=True)
    assert pure.weights + pure.gradients + pure.optimiser == 8 * PARAMETERS


def test_a_small_micro_batch_peaks_at_the_update_a_large_one_at_the_loss() -> None:
    small = told(rows=8, finetuning_type="full", per_device_train_batch_size=1)
    assert small.moment == "update"
    assert small.gradients == 4 * PARAMETERS + 2 * 4 * 49152 * 576
    assert small.activations == small.logits == 0
    large = told(rows=512, finetuning_type="full", per_device_train_batch_size=8)
    assert (large.moment, large.gradients) == ("loss", 0)


def test_four_bits_are_smaller_weights() -> None:
    whole, packed = told(bf16=True), told(bf16=True, quantization_bit=4)
    embeddings = 2 * 49152 * 576
    assert packed.weights < embeddings + 0.6 * (PARAMETERS - 49152 * 576) + 4 * LORA
    # Its tensors leave no holes, and nothing else changes.
    assert packed.holes == 0 < whole.holes
    rest = [getattr(packed, part) for part in ("optimiser", "runtime", "logits", "activations")]
    assert packed.moment == "loss" and packed.total == packed.weights + sum(rest)


def test_quantising_reads_the_whole_file() -> None:
    # With little to train on, the peak is while the layers are read.
    parts = told(rows=8, bf16=True, quantization_bit=4, per_device_train_batch_size=1)
    assert parts.moment == "loading"
    assert parts.total == parts.runtime + parts.weights + demo_card().size_bytes


def test_freeze_is_between() -> None:
    parts = told(finetuning_type="freeze", freeze_trainable_layers=2, bf16=True)
    block = (PARAMETERS - 49152 * 576 - 576) // 30
    assert parts.trainable_parameters == 2 * block
    assert parts.weights == 2 * (PARAMETERS - 2 * block) + 4 * 2 * block


def test_the_total_is_its_parts_and_grows_with_the_batch() -> None:
    small = told(per_device_train_batch_size=1)
    large = told(per_device_train_batch_size=8)
    held = small.weights + small.gradients + small.optimiser + small.runtime
    assert small.total == held + small.activations + small.logits + small.holes
    assert large.activations == pytest.approx(8 * small.activations)
    assert large.logits == pytest.approx(8 * small.logits)
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


def on_a_gpu(rows: Any, **changes: Any) -> Any:
    gpu = machine(gpus=(MachineGpu(0, "x", 24 * GIB, (8, 6)),))
    return forecast(demo_card(), RunConfig(**{"cutoff_len": 4096, **changes}), rows, gpu)


def test_activations_are_kept_where_they_clearly_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import device

    monkeypatch.setattr(device, "torch_is_for_cpus", lambda: False)
    few, many = on_a_gpu(100), on_a_gpu(4000)
    assert (few.checkpointing, many.checkpointing) == (False, True)
    assert on_a_gpu(100, checkpointing_by_memory=False).checkpointing
    assert not on_a_gpu(4000, disable_gradient_checkpointing=True).checkpointing
    kept_all = told(disable_gradient_checkpointing=True).activations
    assert kept_all > 5 * tight(rows=100).activations
    assert told(flash_attn="disabled").activations > told().activations


def test_a_cpu_keeps_activations_where_they_fit() -> None:
    roomy, narrow = told(), tight(rows=100)
    assert (roomy.checkpointing, narrow.checkpointing) == (False, True)
    assert narrow.total < roomy.total


def test_the_forecast_does_not_depend_on_what_is_free_now(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    from engine.models import memory

    here = machine()
    monkeypatch.setattr(memory, "read_machine", lambda: here)
    memory._this_machine.cache_clear()
    found = set()
    for free in (1, 8 * GIB):
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda free=free: type("M", (), {"available": free})
        )
        found.add(forecast(demo_card(), RunConfig(cutoff_len=512), 100).total)
    memory._this_machine.cache_clear()
    assert len(found) == 1


def test_it_says_what_it_assumes() -> None:
    assert "as long as cutoff_len (512 tokens)" in told(rows=None).assumption
    assert "100 tokens, the longest of the set" in told(rows=100).assumption
    assert "kept" in told().assumption
    assert "gradient checkpointing" in tight(rows=100).assumption


def test_what_rows_share_and_train_on_is_counted() -> None:
    rows = RowFacts(100, trained=0.5, shared=20)
    parts = told(rows=rows, per_device_train_batch_size=4)
    assert parts.tokens == 20 + 4 * 80
    assert parts.logits == 12 * 200 * 49152
    padded = told(rows=rows, per_device_train_batch_size=4, flash_attn="disabled")
    assert padded.tokens == 400


def test_training_on_prompts_has_more_logits() -> None:
    assert told(train_on_prompt=True).logits > told().logits


def test_a_model_too_large_for_its_gpu_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import device

    monkeypatch.setattr(device, "torch_is_for_cpus", lambda: False)
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
    steps = RunConfig(save_strategy="steps", save_steps=10)
    assert disk_bytes(steps, 100, 7) == 11 * 7
    limited = RunConfig(save_strategy="steps", save_steps=10, save_total_limit=2)
    assert disk_bytes(limited, 100, 7) == 4 * 7
    epochs = RunConfig(save_strategy="epoch", num_train_epochs=3)
    assert disk_bytes(epochs, 100, 7) == 4 * 7


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
