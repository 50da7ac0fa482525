"""Every field of a config in a sentence, with this model's own value in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.models import explain, explain_fields
from engine.models.explain import MESSAGES, FieldNote, explain_config, unexplained

FAMILIES = (
    "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next",
    "qwen3_5", "gemma", "gemma2", "gemma3_text", "gemma3", "gemma3n", "gemma4", "phi", "phi3",
    "phimoe", "smollm3", "granite", "granitemoe", "granitemoehybrid", "glm", "glm4", "glm4_moe",
    "deepseek_v2", "deepseek_v3", "olmo2", "cohere", "cohere2", "falcon", "falcon_h1",
    "starcoder2", "gpt_oss", "ministral", "ministral3", "mistral3", "qwen2_vl", "qwen2_5_vl",
    "qwen3_vl", "llava", "smolvlm", "idefics3", "exaone4", "ernie4_5", "ernie4_5_moe",
    "hunyuan_v1_dense", "lfm2", "seed_oss", "minimax", "llama4", "stablelm", "gpt2", "bloom",
)  # fmt: skip


def notes(**config: Any) -> dict[str, FieldNote]:
    return {note.key: note for note in explain_config(config, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_every_family_is_explained(family: str) -> None:
    from transformers import CONFIG_MAPPING

    config = json.loads(CONFIG_MAPPING[family]().to_json_string(use_diff=False))
    found = explain_config(config, 1000)
    assert unexplained(found) == []
    told = {note.key.split(".")[0] for note in found}
    assert set(config) - told <= {"architectures"}
    for note in found:
        assert not re.search(r"\{\w+\}", note.sentence), note


def test_a_llama_as_it_is_saved(tiny_llama: Path) -> None:
    config = json.loads((tiny_llama / "config.json").read_text())
    found = explain_config(config, 1000)
    assert unexplained(found) == []
    sentences = {note.key: note.sentence for note in found}
    assert sentences["num_key_value_heads"].startswith(
        "Each set of keys and values is shared by 2 attention heads (grouped-query attention)"
    )
    assert "saves 19,200 weights" in sentences["tie_word_embeddings"]
    keys = [note.key for note in found]
    assert keys.index("hidden_size") < keys.index("vocab_size") < keys.index("hidden_act")


def test_an_unknown_field_is_listed_as_such_and_last() -> None:
    found = explain_config({"hidden_size": 8, "warp_drive": 9, "use_cache": True}, 0)
    assert unexplained(found) == ["warp_drive"]
    assert found[-1].key == "warp_drive" and found[-1].value == "9"
    assert found[-1].sentence == "This field is not explained here."


def test_a_mixture_of_experts() -> None:
    found = notes(
        hidden_size=64,
        n_routed_experts=256,
        num_experts_per_tok=8,
        n_shared_experts=1,
        first_k_dense_replace=0,
        router_aux_loss_coef=0.001,
    )
    assert found["n_routed_experts"].sentence == (
        "Each block has 256 experts, of which 8 work on a token."
    )
    assert "3.12 % of them all" in found["num_experts_per_tok"].sentence
    assert found["first_k_dense_replace"].sentence.startswith("Every block has experts")


def test_positions_old_and_new() -> None:
    new = notes(rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6,
                                 "original_max_position_embeddings": 32768})  # fmt: skip
    assert new["rope_parameters"].value == "yarn × 4"
    assert "from an original context of 32,768 tokens" in new["rope_parameters"].sentence
    assert "1,000,000" in new["rope_parameters.rope_theta"].sentence
    old = notes(rope_theta=500000.0, rope_scaling={
        "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192})  # fmt: skip
    assert "frequency factors 1 and 4" in old["rope_scaling"].sentence
    assert "500,000" in old["rope_theta"].sentence
    assert notes(rope_scaling=None)["rope_scaling"].message == MESSAGES["rope_none"]
    layered = notes(rope_parameters={"full_attention": {"rope_theta": 1e6}})
    assert "full_attention" in layered["rope_parameters.full_attention"].sentence
    sections = notes(rope_parameters={"rope_type": "default", "mrope_section": [16, 24, 24]})
    assert "16, 24, 24" in sections["rope_parameters.mrope_section"].sentence


def test_windows() -> None:
    assert "back 4,096 tokens" in notes(sliding_window=4096)["sliding_window"].sentence
    off = notes(sliding_window=4096, use_sliding_window=False)
    assert "switched off" in off["sliding_window"].sentence
    assert "no attention window" in notes(sliding_window=None)["sliding_window"].sentence
    kinds = notes(layer_types=["sliding_attention"] * 5 + ["full_attention"])
    assert kinds["layer_types"].value == "5 sliding_attention, 1 full_attention"


def test_quantised_weights() -> None:
    gptq = notes(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    assert "gptq to 4 bits, 128 weights sharing one scale" in gptq["quantization_config"].sentence
    bnb = notes(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert "bitsandbytes to 4 bits" in bnb["quantization_config"].sentence
    fp8 = notes(quantization_config={"quant_method": "fp8"})
    assert fp8["quantization_config"].sentence.endswith("quantised with fp8.")


def test_a_model_with_pictures_names_its_parts() -> None:
    found = notes(
        model_type="gemma3",
        text_config={"hidden_size": 64, "num_hidden_layers": 3, "warp": 1},
        vision_config={"model_type": "siglip", "num_hidden_layers": 27, "hidden_size": 1152},
        image_token_index=262144,
    )
    assert found["vision_config"].sentence == (
        "Pictures pass a part of their own (siglip), 27 layers of width 1,152."
    )
    assert found["text_config.num_hidden_layers"].sentence.startswith("3 blocks")
    # A token's number is a name: it is not cut into thousands.
    assert "262144" in found["image_token_index"].sentence
    assert list(found)[-1] == "text_config.warp"


def test_empty_odd_and_foreign_values_never_break_it() -> None:
    odd: dict[str, Any] = {
        "hidden_size": "many", "num_attention_heads": 0, "num_key_value_heads": "x",
        "rope_scaling": "linear", "layer_types": [], "vocab_size": None, "eos_token_id": [],
        "num_experts": 0, "attention_dropout": None, "dtype": 3,
        "use_cache": "yes", "vision_config": None, "auto_map": "x", "sliding_window": 0,
    }  # fmt: skip
    for key, value in odd.items():
        found = explain_config({key: value}, 0)
        assert [note.key for note in found if note.key == key], key
    assert explain_config({}, 0) == ()


def test_every_message_is_used_and_every_field_has_one() -> None:
    source = Path(explain.__file__).read_text()
    named = set(explain_fields.FIELDS.values())
    named |= {message for _end, message in explain_fields.SUFFIXES}
    named |= {message for _begin, message in explain_fields.PREFIXES}
    for message in named:
        assert any(message + end in MESSAGES for end in ("", "_yes", "_none")), message
    for name in MESSAGES:
        stem = re.sub(r"_(yes|no|zero|none)$", "", name)
        own = re.sub(r"_(own|one|group|share|off|latent)$", "", stem)
        assert stem in named or stem in source or own in source, name
