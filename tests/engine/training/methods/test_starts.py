"""What a model computes before its first step: exactly, or nearly, what its base computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DEMO = Path.home() / ".cache" / "finetui" / "models" / "SmolLM2-135M-Instruct"
CLOSE = 1e-3
VARIANTS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "pissa": {"pissa_init": True},
    "pissa_exact": {"pissa_init": True, "pissa_iter": -1},
    "pissa_dora": {"pissa_init": True, "use_dora": True},
    "pissa_rslora": {"pissa_init": True, "use_rslora": True, "lora_rank": 12},
    "oft": {"finetuning_type": "oft", "oft_block_size": 8},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_starting_model_equals_the_base(name: str, load: Any, plain: Any, logits: Any) -> None:
    model, _ = load(**VARIANTS[name])
    difference = (logits(model) - logits(plain)).abs().max()
    assert difference <= CLOSE
    # A start of zero is exact; PiSSA's is a sum in another order.
    assert (difference == 0) == ("pissa" not in name)


@pytest.mark.slow
@pytest.mark.skipif(not DEMO.is_dir(), reason="the demo model is not on this disk")
@pytest.mark.parametrize("name", ["dora", "pissa", "oft"])
def test_the_demo_models_start_equals_the_demo_model(name: str, load: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(DEMO)(
        "The capital of France is Paris, and the capital of Italy is", return_tensors="pt"
    )
    base = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = base(**inputs).logits
    del base
    model, _ = load(DEMO, **{**VARIANTS[name], "oft_block_size": 32})
    with torch.no_grad():
        got = model.eval()(**inputs).logits
    assert (got - expected).abs().max() <= CLOSE


def test_pissa_takes_the_largest_directions_out_of_the_base(load: Any, plain: Any) -> None:
    import torch

    model, config = load(pissa_init=True, pissa_iter=-1, lora_rank=6)
    path = "model.layers.1.mlp.down_proj"
    before = plain.get_submodule(path).weight
    layer = model.base_model.model.get_submodule(path)
    after = torch.linalg.svdvals(layer.get_base_layer().weight)
    expected = torch.linalg.svdvals(before)
    assert torch.allclose(after[: len(after) - 6], expected[6:], atol=1e-4)
    assert layer.lora_A["default"].weight.shape == (6, 64)
    assert config.alpha == 12


def test_fast_and_exact_decomposition_come_to_the_same(plain: Any) -> None:
    import torch

    from engine.training.methods.starts import principal

    weight = plain.get_submodule("model.layers.0.mlp.up_proj").weight.detach()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    # As of a trained weight: a few directions stand out.
    weight = left @ torch.diag(values * 0.7 ** torch.arange(32)) @ right
    torch.manual_seed(0)
    (a, b), (c, d) = principal(weight, 5, 16), principal(weight, 5, -1)
    assert torch.allclose(b @ a, d @ c, atol=1e-3)
    one, none = principal(weight, 5, 1), principal(weight, 40, -1)
    assert (one[1] @ one[0] - d @ c).abs().max() > (b @ a - d @ c).abs().max()
    # A rank above the weight's own is filled with zeros.
    assert none[0].shape == (40, 32) and not none[0][32:].any()
    assert torch.allclose(none[1] @ none[0], weight, atol=1e-4)


def test_pissa_refuses_a_head_that_is_the_embedding(load: Any, model_folder: Path) -> None:
    from engine.problem import BadInput

    with pytest.raises(BadInput, match="shares its weight with the embedding"):
        load(model_folder, pissa_init=True, lora_target="lm_head,q_proj")


def test_pissa_refuses_an_embedding(load: Any) -> None:
    from engine.problem import BadInput

    with pytest.raises(BadInput, match="no linear layer"):
        load(pissa_init=True, lora_target="embed_tokens,q_proj")


def test_pure_bf16_keeps_what_the_base_lost_in_the_adapter(load: Any, plain: Any) -> None:
    """A and B are rounded before the base gives them up: only its own rounding is lost."""
    import torch

    model, _ = load(pissa_init=True, pure_bf16=True)
    layer = model.base_model.model.get_submodule("model.layers.0.self_attn.q_proj")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.dtype == b.dtype == layer.get_base_layer().weight.dtype == torch.bfloat16
    original = plain.get_submodule("model.layers.0.self_attn.q_proj").weight
    sums = layer.get_base_layer().weight.float() + layer.scaling["default"] * b.float() @ a.float()
    assert (sums - original).abs().max() <= 2**-7 * original.abs().max()
