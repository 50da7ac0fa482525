"""How many weights DoRA, OFT and LLaMA Pro train, from shapes alone, against peft's own count."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.trainable import oft_blocks, trainable_parameters

SIZES = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def bare_model() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**SIZES))


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def counted_by_peft(described: Any) -> int:
    import torch
    from peft import get_peft_model

    with torch.device("meta"):
        return int(get_peft_model(bare_model(), described).get_nb_trainable_parameters()[0])


def test_dora_counts_equal_peft() -> None:
    from peft import LoraConfig

    config = RunConfig(lora_rank=5, use_dora=True)
    described = LoraConfig(r=5, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=True)
    assert trainable_parameters(shapes_of(bare_model()), config) == counted_by_peft(described)


@pytest.mark.parametrize(
    ("rank", "size", "target", "whole"),
    [
        (0, 8, "all", None),
        (0, 32, "all", None),  # divides neither 48 nor 80
        (0, 999, "all", None),
        (0, 7, "q_proj,down_proj", None),
        (4, 0, "all", None),
        (7, 0, "all", None),
        (3, 32, "all", "embed_tokens"),  # the rank goes before the size
    ],
)
def test_oft_counts_equal_peft(rank: int, size: int, target: str, whole: str | None) -> None:
    from peft import OFTConfig

    config = RunConfig(
        finetuning_type="oft",
        oft_rank=rank,
        oft_block_size=size,
        oft_target=target,
        additional_target=whole,
    )
    described = OFTConfig(
        r=rank,
        oft_block_size=0 if rank else size,
        target_modules="all-linear" if target == "all" else target.split(","),
        modules_to_save=whole.split(",") if whole else None,
        task_type="CAUSAL_LM",
    )
    assert trainable_parameters(shapes_of(bare_model()), config) == counted_by_peft(described)


def test_oft_blocks_fill_the_inputs() -> None:
    for inputs in (48, 80, 576, 1536):
        for wanted in (1, 5, 8, 31, 32, 100, 4000):
            for cut in (oft_blocks(inputs, 0, wanted), oft_blocks(inputs, wanted, 0)):
                assert cut[0] * cut[1] == inputs


@pytest.mark.parametrize("added", [1, 2, 4])
def test_llama_pro_counts_equal_the_expanded_model(added: int) -> None:
    from engine.models.blocks import expand_blocks

    model = bare_model()
    shapes = shapes_of(model)
    block = sum(w.numel() for n, w in model.named_parameters() if n.startswith("model.layers.0."))
    config = RunConfig(finetuning_type="freeze", use_llama_pro=True, freeze_trainable_layers=added)
    before = sum(weight.numel() for weight in model.parameters())
    expand_blocks(model, added)
    grown = sum(weight.numel() for weight in model.parameters()) - before
    assert grown == added * block == trainable_parameters(shapes, config)


def test_llama_pro_with_lora_counts_the_new_blocks_only() -> None:
    shapes = shapes_of(bare_model())
    whole = trainable_parameters(shapes, RunConfig())
    some = trainable_parameters(shapes, RunConfig(use_llama_pro=True, freeze_trainable_layers=1))
    assert some * 4 == whole > 0
