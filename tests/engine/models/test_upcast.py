"""Norms and the output head in fp32, in a model that is held in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.config import RunConfig
from engine.models.load import load_model
from engine.models.precision import Precision

BF16 = Precision("bf16", "bf16", None, "pure bf16")


def loaded(folder: Path, **changes: Any) -> Any:
    return load_model(folder, RunConfig(**changes), BF16, "cpu", for_training=True)


def test_norms_are_held_in_fp32_and_pass_on_what_came(tiny_llama: Path) -> None:
    import torch

    model = loaded(tiny_llama, upcast_layernorm=True)
    kinds = {name: weight.dtype for name, weight in model.named_parameters()}
    norms = [name for name in kinds if "norm" in name]
    assert norms and all(kinds[name] == torch.float32 for name in norms)
    assert all(kinds[name] == torch.bfloat16 for name in kinds if name not in norms)
    layer = model.model.layers[0].input_layernorm
    rows = torch.randn(2, layer.weight.shape[0])
    assert layer(rows.bfloat16()).dtype == torch.bfloat16
    assert layer(rows).dtype == torch.float32
    assert torch.isfinite(model(torch.tensor([[1, 3, 4]])).logits).all()


def test_the_head_multiplies_in_fp32(tiny_llama: Path) -> None:
    import torch

    plain, exact = loaded(tiny_llama), loaded(tiny_llama, upcast_lmhead_output=True)
    ids = torch.tensor([[1, 3, 4]])
    hidden = plain.model(ids).last_hidden_state
    expected = hidden.float() @ plain.lm_head.weight.float().T
    assert plain(ids).logits.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = exact(ids).logits
    assert logits.dtype == torch.float32
    assert torch.allclose(exact.lm_head(hidden), expected)
    assert not torch.allclose(plain.lm_head(hidden).float(), expected, rtol=0, atol=1e-6)
    logits.sum().backward()
    assert exact.lm_head.weight.grad is not None


def test_an_fp32_head_is_found_and_copied_by_peft(tiny_llama: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = loaded(tiny_llama, upcast_lmhead_output=True)
    wrapped = get_peft_model(model, LoraConfig(target_modules="all-linear"))
    assert not any("lm_head.lora" in name for name, _ in wrapped.named_parameters())
    model = loaded(tiny_llama, upcast_lmhead_output=True)
    whole = get_peft_model(
        model, LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    )
    assert whole(torch.tensor([[1, 3]])).logits.dtype == torch.float32
