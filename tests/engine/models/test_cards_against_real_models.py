"""The arithmetic over config.json against the real models on the meta device, and peft's counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.architecture import KNOWN_FAMILIES, tensor_shapes
from engine.models.card import card_of, demo_card, read_card
from engine.models.explain import MESSAGES
from engine.models.trainable import trainable_parameters
from engine.problem import BadInput

WIDE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False, "head_dim": 24},
    {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    {"num_key_value_heads": 4},
]


def meta_model(config: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {key: value for key, value in config.items() if key != "model_type"}
    real = AutoConfig.for_model(config["model_type"], **values)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(real)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(v) or "plain")
@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_shapes_equal_the_meta_model(family: str, variant: dict[str, Any]) -> None:
    model = meta_model({**WIDE, **variant, "model_type": family})
    # What the model saves is what a user's folder holds: defaults included.
    saved = json.loads(model.config.to_json_string(use_diff=False))
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert tensor_shapes(saved) == expected
    card = card_of(saved, family)
    assert card.parameters == model.num_parameters()
    assert card.layers == 3
    assert card.hidden == 64


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen2", "phi3", "smollm3"])
def test_a_config_with_only_the_differences_is_read_alike(family: str) -> None:
    model = meta_model({**WIDE, "model_type": family})
    saved = json.loads(model.config.to_json_string(use_diff=True))
    assert card_of(saved, family).parameters == model.num_parameters()


@pytest.mark.parametrize("target", ["all", "q_proj,v_proj", "down_proj"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_lora_counts_equal_peft(family: str, target: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = meta_model({**WIDE, "model_type": family})
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    config = RunConfig(
        finetuning_type="lora", lora_rank=5, lora_target=target, additional_target=None
    )
    wanted = "all-linear" if target == "all" else target.split(",")
    with torch.device("meta"):
        tuned = get_peft_model(model, LoraConfig(r=5, target_modules=wanted, task_type="CAUSAL_LM"))
    assert trainable_parameters(shapes, config) == tuned.get_nb_trainable_parameters()[0]


def test_lora_with_a_module_saved_whole_equals_peft() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = meta_model({**WIDE, "model_type": "llama", "tie_word_embeddings": False})
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    config = RunConfig(
        finetuning_type="lora", lora_rank=4, lora_target="all", additional_target="embed_tokens"
    )
    with torch.device("meta"):
        tuned = get_peft_model(
            model,
            LoraConfig(
                r=4,
                target_modules="all-linear",
                modules_to_save=["embed_tokens"],
                task_type="CAUSAL_LM",
            ),
        )
    assert trainable_parameters(shapes, config) == tuned.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize(
    ("layers", "modules", "extra", "prefixes"),
    [
        (2, "all", None, ("model.layers.1.", "model.layers.2.")),
        (-1, "all", None, ("model.layers.0.",)),
        (1, "mlp", None, ("model.layers.2.mlp.",)),
        (1, "mlp", "norm", ("model.layers.2.mlp.", "model.norm.")),
        (9, "self_attn", None, tuple(f"model.layers.{n}.self_attn." for n in range(3))),
    ],
)
def test_freeze_counts(
    layers: int, modules: str, extra: str | None, prefixes: tuple[str, ...]
) -> None:
    model = meta_model({**WIDE, "model_type": "llama"})
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    config = RunConfig(
        finetuning_type="freeze",
        freeze_trainable_layers=layers,
        freeze_trainable_modules=modules,
        freeze_extra_modules=extra,
    )
    expected = sum(p.numel() for n, p in model.named_parameters() if n.startswith(prefixes))
    assert expected > 0
    assert trainable_parameters(shapes, config) == expected


def test_full_counts_everything() -> None:
    card = demo_card()
    assert trainable_parameters(card.shapes, RunConfig(finetuning_type="full")) == (card.parameters)


def test_demo_card_is_the_same_before_and_after_the_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path))
    card = demo_card()
    assert card.parameters == 134_515_008
    assert (card.context, card.template, card.kv_heads) == (8192, "chatml", 3)


def test_an_unknown_family_is_read_from_its_weights(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2))
    model.save_pretrained(str(tmp_path))
    card = read_card(tmp_path)
    assert card.parameters == model.num_parameters()
    assert (card.layers, card.hidden, card.intermediate, card.context) == (2, 32, 128, 1024)


def test_an_unknown_family_without_weights_is_told() -> None:
    with pytest.raises(BadInput) as told:
        card_of({"model_type": "nobodyknows", "hidden_size": 8}, "x")
    assert "nobodyknows" in told.value.problem.what


def test_card_of_a_folder(tiny_llama: Path) -> None:
    card = read_card(tiny_llama)
    assert card.name == "tiny-llama"
    assert card.template == "chatml"
    assert card.dtype == "float32"
    assert card.size_bytes == (tiny_llama / "model.safetensors").stat().st_size
    notes = {note.key: note for note in card.fields}
    assert "shared by 2 attention heads" in notes["num_key_value_heads"].sentence
    assert "1.5 times the width" in notes["intermediate_size"].sentence
    assert "19,200 weights" in notes["tie_word_embeddings"].sentence


def test_every_field_note_can_be_translated_by_its_message(tiny_llama: Path) -> None:
    config = {
        **WIDE,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "eos_token_id": [1, 2],
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "torch_dtype": "bfloat16",
        "attention_dropout": 0.1,
    }
    for notes in (card_of(config, "x").fields, read_card(tiny_llama).fields):
        for note in notes:
            assert note.message in MESSAGES.values()
            assert note.message.format(**dict(note.parts)) == note.sentence
            assert "{" not in note.sentence
            assert "?" not in note.sentence
    sentences = {note.key: note.sentence for note in card_of(config, "x").fields}
    assert "Any of the 2 tokens 1, 2" in sentences["eos_token_id"]
    assert "original context of 8,192 tokens" in sentences["rope_scaling"]
    assert "500,000" in sentences["rope_theta"]
    assert "10 %" in sentences["attention_dropout"]
