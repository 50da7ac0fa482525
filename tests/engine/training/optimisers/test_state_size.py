"""The bytes of each optimiser's state are foretold by arithmetic: held against the built ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.models.optimiser_size import (
    gradient_weights,
    optimiser_state_bytes,
    trained_shapes,
)

RANK = {"galore_rank": 4, "apollo_rank": 4}
SIZES: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True},
    "apollo": {"use_apollo": True},
    "badam-layer": {"use_badam": True},
    "badam-ratio": {"use_badam": True, "badam_mode": "ratio"},
    "adam_mini": {"use_adam_mini": True},
    "muon": {"use_muon": True},
    "galore-full": {"use_galore": True, "galore_proj_type": "full"},
    "galore-reverse": {"use_galore": True, "galore_proj_type": "reverse_std"},
    "galore-adafactor": {"use_galore": True, "optim": "adafactor"},
    "galore_adamw": {"optim": "galore_adamw", "optim_args": "rank=4"},
    "apollo-right": {
        "use_apollo": True,
        "apollo_proj_type": "right",
        "apollo_scale_type": "tensor",
    },
    **{
        name: {"optim": name}
        for name in (
            *("adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop", "adamw_bnb_8bit"),
            *("paged_adamw_32bit", "lion_32bit", "lion_8bit", "ademamix", "ademamix_8bit"),
            *("rmsprop_bnb_8bit", "lomo", "schedule_free_adamw", "schedule_free_sgd"),
            *("grokadamw", "stable_adamw"),
        )
    },
    "sgd-momentum": {"optim": "sgd", "optim_args": "momentum=0.9"},
    "lora": {"finetuning_type": "lora"},
    "lora-embeddings": {"finetuning_type": "lora", "additional_target": "embed_tokens"},
    "freeze": {"finetuning_type": "freeze"},
    "galore-bf16": {"use_galore": True, "pure_bf16": True, "bf16": None},
    "adafactor-bf16": {"optim": "adafactor", "pure_bf16": True, "bf16": None},
    "badam-bf16": {"use_badam": True, "pure_bf16": True, "bf16": None},
    "stable_adamw-bf16": {"optim": "stable_adamw", "pure_bf16": True, "bf16": None},
    "adam_mini-bf16": {"use_adam_mini": True, "pure_bf16": True, "bf16": None},
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    """As the run's tests use it, with weights enough for 8-bit state (from 4,096 a tensor on)."""
    return save_llama(
        tmp_path_factory.mktemp("tiny"),
        seed=0,
        hidden_size=64,
        intermediate_size=96,
        initializer_range=0.02,
        tie_word_embeddings=True,
    )


@pytest.mark.parametrize("name", SIZES)
def test_the_size_of_the_state_is_foretold(name: str, watched: Callable[..., Any]) -> None:
    from engine.models import read_card

    changes = {**RANK, "max_steps": 1, **SIZES[name]}
    trainer, _ = watched(**changes)
    config = trainer.plan.config
    card = read_card(Path(config.model_name_or_path))
    number = 2 if config.pure_bf16 else 4
    told = optimiser_state_bytes(
        card.shapes, config, number, head_numbers=card.hidden * card.head_dim
    )
    inner = trainer.optimizer.optimizer
    held = sum(numbers_of(values) for values in inner.state.values())
    if name.startswith("badam-layer") or name == "badam-bf16":
        held = numbers_of(inner.state_dict())
    elif name == "badam-ratio":
        held += sum(
            numbers_of(mask.indices()) + numbers_of(mask.values())
            for mask in inner.mask_dict.values()
        )
    elif name == "grokadamw":
        held = sum(numbers_of(group["state"]) for group in inner.state_dict()["param_groups"])
    # Counters, and tables shared by all tensors of a kind, are not counted.
    slack = 16 * len(card.shapes) + (2100 * len(card.shapes) if "8bit" in config.optim else 0)
    assert told <= held + 16 and held - told <= max(slack, 0.01 * held), (told, held)


def test_gradients_held_at_once(make_config: Callable[..., Any], model_folder: Path) -> None:
    from engine.models import read_card

    card = read_card(model_folder)
    block = sum(math.prod(s) for n, s in card.shapes.items() if n.startswith("model.layers.0."))
    for changes, expected in (
        ({}, card.parameters),
        ({"use_badam": True}, block),
        ({"use_galore": True, "galore_layerwise": True}, card.vocab * card.hidden),
        ({"optim": "lomo"}, card.vocab * card.hidden),
    ):
        config = make_config(finetuning_type="full", **changes)
        assert gradient_weights(trained_shapes(card.shapes, config), config) == expected


def numbers_of(value: Any) -> int:
    """Bytes of all tensors in a state."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(numbers_of(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(numbers_of(part) for part in value)
    if hasattr(value, "ortho_matrix"):
        return numbers_of(value.ortho_matrix)
    return 0
