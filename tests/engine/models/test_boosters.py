"""Boosters: refused where they can't run, and written against the real libraries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.boosters import apply_fp8, apply_liger, check_boosters, liger_options
from engine.models.load import load_model
from engine.models.precision import Precision
from engine.problem import BadInput

FP32 = Precision("fp32", "fp32", None, "fp32")


@pytest.mark.parametrize("name", ["enable_liger_kernel", "fp8", "use_unsloth_gc"])
def test_a_cpu_is_told_before_anything_loads(name: str, tiny_llama: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_model(tiny_llama, RunConfig(**{name: True}), FP32, "cpu", for_training=True)
    assert "on the CPU" in caught.value.problem.what
    assert caught.value.problem.setting == name
    # Boosters are of training: chat with a run's settings goes on without them.
    load_model(tiny_llama, RunConfig(**{name: True}), FP32, "cpu", for_training=False)


@pytest.mark.parametrize(("capability", "allowed"), [((8, 0), False), ((8, 9), True)])
def test_fp8_asks_for_the_card(capability: tuple[int, int], allowed: bool) -> None:
    if allowed:
        check_boosters(RunConfig(fp8=True), "cuda:0", capability, "llama")
        return
    with pytest.raises(BadInput) as caught:
        check_boosters(RunConfig(fp8=True), "cuda:0", capability, "llama")
    assert "8.0" in caught.value.problem.what


def test_ligers_losses_stay_out() -> None:
    assert liger_options(None) == {"cross_entropy": False, "fused_linear_cross_entropy": False}
    assert liger_options({"rope": False, "cross_entropy": True}) == {
        "rope": False,
        "cross_entropy": False,
        "fused_linear_cross_entropy": False,
    }


def test_liger_takes_norms_and_layers_and_leaves_the_forward(tiny_llama: Path) -> None:
    pytest.importorskip("liger_kernel", reason="needs liger-kernel and Triton")
    pytest.importorskip("triton")
    model: Any = load_model(tiny_llama, RunConfig(), FP32, "cpu", for_training=True)
    forward = model.forward.__func__
    apply_liger(model, {"rope": False})
    assert model.forward.__func__ is forward
    layer = model.model.layers[0]
    assert "liger" in layer.mlp.forward.__func__.__module__
    assert "liger" in layer.input_layernorm.forward.__func__.__module__


def test_a_model_loaded_after_liger_is_as_before(tiny_llama: Path) -> None:
    pytest.importorskip("liger_kernel", reason="needs liger-kernel and Triton")
    pytest.importorskip("triton")
    import torch
    from transformers.models.llama import modeling_llama

    ids = torch.tensor([[1, 3, 4]])
    plain = load_model(tiny_llama, RunConfig(), FP32, "cpu", for_training=True)(ids).logits
    norm, original = modeling_llama.LlamaRMSNorm, modeling_llama.apply_rotary_pos_emb
    for _ in range(2):
        model = load_model(tiny_llama, RunConfig(), FP32, "cpu", for_training=True)
        apply_liger(model, None)
    assert modeling_llama.LlamaRMSNorm is norm
    assert modeling_llama.apply_rotary_pos_emb.elsewhere is original
    after = load_model(tiny_llama, RunConfig(), FP32, "cpu", for_training=True)(ids).logits
    assert torch.equal(after, plain)


def test_liger_refuses_an_architecture_it_has_no_kernels_for() -> None:
    pytest.importorskip("liger_kernel", reason="needs liger-kernel and Triton")
    pytest.importorskip("triton")
    config = RunConfig(enable_liger_kernel=True)
    check_boosters(config, "cuda:0", (9, 0), "llama")
    with pytest.raises(BadInput) as caught:
        check_boosters(config, "cuda:0", (9, 0), "gpt2")
    assert "gpt2" in caught.value.problem.what


def test_fp8_products_are_near_the_exact_ones_and_are_saved_as_before(
    tmp_path: Path, save_llama: Any
) -> None:
    """Emulated: the same numbers as on a card that has them."""
    pytest.importorskip("torchao")
    import torch

    if find_spec("triton") and not torch.cuda.is_available():
        pytest.skip("torchao asks the installed Triton for a GPU")
    folder = save_llama(tmp_path / "base", hidden_size=64, initializer_range=0.02)
    model: Any = load_model(folder, RunConfig(), FP32, "cpu", for_training=True)
    ids = torch.arange(3, 35)[None]
    exact = model(ids).logits
    names = set(model.state_dict())
    # The first linear layer and the head stay as they are: 3 layers of 7, but for one.
    assert apply_fp8(model, emulate=True) == 20
    near = model(ids).logits
    error = (near - exact).norm() / exact.norm()
    assert 1e-4 < error < 0.1
    near.sum().backward()
    assert model.model.layers[1].mlp.up_proj.weight.grad is not None
    assert set(model.state_dict()) == names
    model.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved", RunConfig(), FP32, "cpu", for_training=False)
    assert torch.allclose(again(ids).logits, exact, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_fp8_trains_under_autocast_with_every_method(
    method: str, tmp_path: Path, save_llama: Any
) -> None:
    pytest.importorskip("torchao")
    import torch

    from engine.models.head import forward_at
    from engine.training.methods import apply_method

    if find_spec("triton") and not torch.cuda.is_available():
        pytest.skip("torchao asks the installed Triton for a GPU")
    config = RunConfig(finetuning_type=method)
    held = Precision("bf16" if method == "lora" else "fp32", "fp32", "bf16", "bf16")
    folder = save_llama(tmp_path, hidden_size=64, initializer_range=0.02)
    base: Any = load_model(folder, config, held, "cpu", for_training=True)
    assert apply_fp8(base, emulate=True) == 20
    model = apply_method(base, config, held).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    ids = torch.arange(3, 35)[None]
    losses = []
    for _ in range(5):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward_at(model, {"input_ids": ids}, torch.arange(31)).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:])
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_checkpoints_in_cpu_memory_are_asked_of_transformers(tmp_path: Path) -> None:
    from trl import SFTConfig

    from engine.training.arguments import training_arguments

    def kwargs(**changes: Any) -> Any:
        config = RunConfig(**changes)
        made = training_arguments(SFTConfig, config, tmp_path, FP32, "cpu", True)
        return made.activation_checkpointing_kwargs

    assert kwargs(use_unsloth_gc=True) == {"offload": True}
    assert not (kwargs() or {}).get("offload")
