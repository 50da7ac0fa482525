"""Loading for real: a tiny Llama, its tokenizer, adapters that fit and ones that do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.load import load_model, load_tokenizer, load_with_adapter
from engine.models.precision import Precision
from engine.problem import BadInput

FP32 = Precision("fp32", "fp32", None, "fp32")
BF16 = Precision("bf16", "fp32", None, "bf16")


def config(**changes: Any) -> RunConfig:
    return RunConfig(**changes)


def test_the_model_loads_in_the_wanted_type(tiny_llama: Path) -> None:
    import torch

    model = load_model(tiny_llama, config(), FP32, "cpu", for_training=False)
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"
    assert model.config.use_cache is True
    assert not model.training
    half = load_model(tiny_llama, config(flash_attn="disabled"), BF16, "cpu", for_training=True)
    assert half.dtype == torch.bfloat16
    assert half.config._attn_implementation == "eager"
    assert half.config.use_cache is False
    assert all(p.requires_grad for p in half.parameters())
    ids = torch.tensor([[1, 3, 4]])
    assert torch.allclose(model(ids).logits, half(ids).logits.float(), atol=0.05)


def test_mapped_weights_are_never_written_back(tiny_llama: Path, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    before = (folder / "model.safetensors").read_bytes()
    model = load_model(folder, config(), FP32, "cpu", for_training=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before


def test_the_tokenizer_pads_with_its_end_token(tiny_llama: Path) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    assert tokenizer("a b").input_ids == [3, 4]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2


def test_a_broken_tokenizer_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput) as told:
        load_tokenizer(folder)
    assert told.value.problem.where == str(folder)


def test_an_unknown_architecture_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "nobodyknows"}))
    with pytest.raises(BadInput) as told:
        load_model(folder, config(), FP32, "cpu", for_training=False)
    assert "nobodyknows" in told.value.problem.what


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("num_hidden_layers", 4, "The weights lack 18 of the 38 tensors"),
        ("intermediate_size", 48, "mlp.down_proj.weight is 64 × 96 in the file, 64 × 48 by"),
    ],
)
def test_weights_of_another_config_are_refused(
    tiny_llama: Path, tmp_path: Path, setting: str, value: int, said: str
) -> None:
    folder = tmp_path / "unfit"
    shutil.copytree(tiny_llama, folder)
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**described, setting: value}), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_model(folder, config(), FP32, "cpu", for_training=False)
    assert said in caught.value.problem.what
    assert caught.value.problem.where == str(folder)


def test_foreign_code_is_not_run_unless_consented(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    trap = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    values = json.loads((folder / "config.json").read_text())
    values["model_type"] = "own_model"
    values["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(BadInput) as told:
        load_model(folder, config(), FP32, "cpu", for_training=False)
    assert "trust_remote_code" in told.value.problem.hint
    assert not trap.exists()


def save_adapter(base: Path, folder: Path, rank: int = 4, seed: int = 0) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(str(base)),
        LoraConfig(
            r=rank, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    )
    model.save_pretrained(str(folder))
    return folder


def test_an_adapter_changes_the_answers_and_trains_only_itself(
    tiny_llama: Path, tmp_path: Path
) -> None:
    import torch

    adapter = save_adapter(tiny_llama, tmp_path / "adapter")
    ids = torch.tensor([[1, 3, 4]])
    base = load_model(tiny_llama, config(), FP32, "cpu", for_training=False)(ids).logits
    tuned = load_with_adapter(tiny_llama, adapter, config(), FP32, "cpu", trainable=False)
    assert not any(p.requires_grad for p in tuned.parameters())
    assert not tuned.training
    assert not torch.allclose(tuned(ids).logits, base)
    onward = load_with_adapter(tiny_llama, str(adapter), config(), BF16, "cpu", trainable=True)
    trained = [(n, p) for n, p in onward.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trained)


def test_several_adapters_add_up(tiny_llama: Path, tmp_path: Path) -> None:
    import torch

    first = save_adapter(tiny_llama, tmp_path / "one", seed=1)
    second = save_adapter(tiny_llama, tmp_path / "two", seed=2)
    both = load_with_adapter(
        tiny_llama, f"{first}, {second}", config(), FP32, "cpu", trainable=False
    )
    weights = []
    for folder in (first, second):
        one = load_with_adapter(tiny_llama, folder, config(), FP32, "cpu", trainable=False)
        weights.append(one.merge_and_unload().model.layers[0].self_attn.q_proj.weight)
    base = load_model(tiny_llama, config(), FP32, "cpu", for_training=False)
    start = base.model.layers[0].self_attn.q_proj.weight
    merged = both.merge_and_unload().model.layers[0].self_attn.q_proj.weight
    assert torch.allclose(merged, weights[0] + weights[1] - start, atol=1e-5)


def test_an_adapter_of_another_base_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    other = tmp_path / "other"
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    ).save_pretrained(str(other))
    adapter = save_adapter(other, tmp_path / "adapter")
    with pytest.raises(BadInput) as told:
        load_with_adapter(tiny_llama, adapter, config(), FP32, "cpu", trainable=False)
    assert "does not fit" in told.value.problem.what
    assert told.value.problem.setting == "adapter_name_or_path"


def test_folders_that_are_no_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_llama, tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    cases = []
    for folder in (tmp_path / "nowhere", tiny_llama, adapter):
        if folder == adapter:
            weights.rename(adapter / "adapter_model.bin")
        with pytest.raises(BadInput) as told:
            load_with_adapter(tiny_llama, folder, config(), FP32, "cpu", trainable=False)
        cases.append(told.value.problem.what)
    assert "no such adapter" in cases[0]
    assert "no adapter_config.json" in cases[1]
    assert "pickle" in cases[2]
