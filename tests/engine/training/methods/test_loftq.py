"""LoftQ: an adapter that begins as what 4-bit quantisation lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.problem import BadInput

pytest.importorskip("bitsandbytes")
FOUR = {"quantization_bit": 4}
LOFTQ = {**FOUR, "loftq_init": True, "lora_rank": 16}


def distance(model: Any, other: Any, logits: Any) -> float:
    return float((logits(model) - logits(other)).pow(2).mean().sqrt())


def test_the_start_is_nearer_to_the_unquantised_model(load: Any, plain: Any, logits: Any) -> None:
    corrected, _ = load(**LOFTQ)
    uncorrected, _ = load(**FOUR, lora_rank=16)
    assert distance(corrected, plain, logits) < 0.8 * distance(uncorrected, plain, logits)


def test_a_and_b_are_the_best_correction_of_their_rank(load: Any, plain: Any) -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit

    model, config = load(**LOFTQ)
    path = "model.layers.1.mlp.down_proj"
    layer = model.base_model.model.get_submodule(path)
    held = layer.get_base_layer().weight
    four = dequantize_4bit(held.data, held.quant_state).float()
    lost = plain.get_submodule(path).weight.detach() - four
    a, b = (half["default"].weight.detach() for half in (layer.lora_A, layer.lora_B))
    left = lost - layer.scaling["default"] * b @ a
    # Eckart and Young: what is left is the rest of the singular values.
    rest = torch.linalg.svdvals(lost)[config.lora_rank :].pow(2).sum().sqrt()
    assert float(torch.linalg.norm(left)) == pytest.approx(float(rest), rel=1e-3)


def test_dora_begins_at_the_corrected_lengths(load: Any, plain: Any, logits: Any) -> None:
    corrected, _ = load(**LOFTQ)
    with_dora, _ = load(**LOFTQ, use_dora=True)
    assert distance(corrected, with_dora, logits) < 1e-3


def test_the_folder_loads_on_four_bits_and_on_whole_weights(
    train: Any, comes_back: Any, logits: Any, plain: Any, tmp_path: Path
) -> None:
    import torch

    config, _ = train("run", **LOFTQ, learning_rate=1e-9)
    run = tmp_path / "run"
    told = json.loads((run / "adapter_config.json").read_text("utf-8"))
    assert told["init_lora_weights"] is True  # the base that peft loads is the one it began on
    # Hardly trained, it is the base on whole weights (not the base corrected a second time),
    whole = comes_back(config, run, quantization_bit=None)
    assert distance(whole, plain, logits) < 1e-3
    # and the corrected 4-bit base on 4 bits.
    four = comes_back(config, run)
    bare = comes_back(config, run, adapter_name_or_path=None)
    assert distance(four, plain, logits) < 0.8 * distance(bare, plain, logits)
    assert torch.isfinite(logits(four)).all()


def test_what_is_trained_is_the_same_on_both(
    train: Any, comes_back: Any, logits: Any, plain: Any, tmp_path: Path
) -> None:
    config, _ = train("run", **LOFTQ)
    whole = comes_back(config, tmp_path / "run", quantization_bit=None)
    four = comes_back(config, tmp_path / "run")
    moved = distance(four, plain, logits)
    assert distance(whole, four, logits) < moved


def test_eight_bits_are_not_what_it_corrects(train: Any, comes_back: Any, tmp_path: Path) -> None:
    config, _ = train("run", **LOFTQ)
    with pytest.raises(BadInput, match="in 4 bits by bitsandbytes, or unquantised"):
        comes_back(config, tmp_path / "run", quantization_bit=8)


def test_a_layer_that_is_not_quantised_is_told(load: Any) -> None:
    with pytest.raises(BadInput, match="lm_head is not held in 4 bits"):
        load(**LOFTQ, lora_target="q_proj,lm_head")
