"""LLaMA Pro: the expanded model is its base, to the bit, until the new blocks have learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.models.blocks import (
    KEY,
    decoder_blocks,
    expand_blocks,
    expanded_blocks,
    new_positions,
    source_blocks,
)
from engine.problem import BadInput

PRO = {"use_llama_pro": True, "freeze_trainable_layers": 2}
FREEZE = {"finetuning_type": "freeze", **PRO}


def test_the_new_blocks_are_spread_evenly() -> None:
    assert new_positions(4, 1) == (4,)
    assert new_positions(4, 2) == (2, 5)
    assert new_positions(4, 4) == (1, 3, 5, 7)
    assert source_blocks(4, 2) == (1, 3)
    # As the paper's 32 blocks become 40, and as the usual tool looks for them there.
    assert new_positions(32, 8) == tuple(range(4, 40, 5))


@pytest.mark.parametrize("method", ["freeze", "lora"])
@pytest.mark.parametrize("added", [1, 2, 4])
def test_the_expanded_model_equals_the_base_to_the_bit(
    method: str, added: int, load: Any, plain: Any, logits: Any
) -> None:
    import torch

    model, _ = load(finetuning_type=method, use_llama_pro=True, freeze_trainable_layers=added)
    assert torch.equal(logits(model), logits(plain))
    _, _, blocks = decoder_blocks(model)
    assert len(blocks) == model.config.num_hidden_layers == 4 + added


@pytest.mark.slow
def test_the_expanded_demo_model_equals_it_to_the_bit() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path.home() / ".cache" / "finetui" / "models" / "SmolLM2-135M-Instruct"
    if not folder.is_dir():
        pytest.skip("the demo model is not on this disk")
    inputs = AutoTokenizer.from_pretrained(folder)("The capital of France is", return_tensors="pt")
    for kind in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
        with torch.no_grad():
            before = model(**inputs).logits
            written = model.generate(**inputs, max_new_tokens=8, do_sample=False)
            expand_blocks(model, 6)
            assert torch.equal(model(**inputs).logits, before)
            assert torch.equal(model.generate(**inputs, max_new_tokens=8, do_sample=False), written)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma2", "mistral", "smollm3", "phi3"])
def test_other_families_are_expanded_exactly_too(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(1, 64, (2, 20))
    with torch.no_grad():
        before = model(ids).logits
        written = model.generate(ids, max_new_tokens=5, do_sample=False)
        assert expand_blocks(model, 2) == (2, 5)
        assert torch.equal(model(ids).logits, before)
        # With a cache, each block has a place of its own in it.
        assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), written)
    kinds = getattr(model.config, "layer_types", None)
    assert kinds is None or len(kinds) == 6


def test_every_block_knows_its_place_and_shares_the_config(load: Any) -> None:
    model, _ = load(**FREEZE)
    _, _, blocks = decoder_blocks(model)
    assert [block.self_attn.layer_idx for block in blocks] == list(range(6))
    assert all(block.self_attn.config is model.config for block in blocks)
    pointers = [block.self_attn.q_proj.weight.data_ptr() for block in blocks]
    assert len(set(pointers)) == 6


def test_only_the_new_blocks_are_trained_and_the_folder_is_a_model(
    train: Any, comes_back: Any, logits: Any, plain: Any, tmp_path: Path
) -> None:
    import torch

    config, _ = train("run", **FREEZE)
    back = comes_back(config, tmp_path / "run")
    assert back.config.num_hidden_layers == 6
    assert json.loads((tmp_path / "run/config.json").read_text("utf-8"))[KEY] == [2, 5]
    old = [0, 1, 3, 4]
    for place, number in zip(old, range(4), strict=True):
        ours = back.model.layers[place].state_dict()
        theirs = plain.model.layers[number].state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert all(back.model.layers[place].mlp.down_proj.weight.any() for place in (2, 5))
    assert (logits(back) - logits(plain)).abs().max() > 1e-3


def test_a_run_on_an_expanded_model_trains_the_blocks_it_has(
    train: Any, comes_back: Any, tmp_path: Path
) -> None:
    train("first", **FREEZE)
    second, _ = train("second", **FREEZE, model_name_or_path=str(tmp_path / "first"))
    assert comes_back(second, tmp_path / "second").config.num_hidden_layers == 6


def test_a_script_of_another_tool_may_have_expanded_it(plain: Any, tmp_path: Path) -> None:
    """Its new blocks write nothing yet: they are found without a word in the config."""
    from transformers import AutoModelForCausalLM

    expand_blocks(plain, 2)
    delattr(plain.config, KEY)
    plain.save_pretrained(tmp_path / "pro")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "pro")
    assert expanded_blocks(model, 2) == (2, 5)
    assert expanded_blocks(model, 3) is None
    model.model.layers[5].mlp.down_proj.weight.data[0, 0] = 1
    assert expanded_blocks(model, 2) is None


def test_an_adapter_on_new_blocks_loads_on_the_plain_base(
    train: Any, comes_back: Any, logits: Any, load: Any, plain: Any, tmp_path: Path
) -> None:
    config, _ = train("run", **PRO)
    back = comes_back(config, tmp_path / "run")
    found = logits(back)
    assert (found - logits(plain)).abs().max() > 1e-3
    adapted = {
        int(name.split(".layers.")[1].split(".")[0])
        for name, _ in back.named_parameters()
        if "lora_A" in name
    }
    assert adapted == {2, 5}
    # It trains on, and the next folder loads alike.
    given = {"adapter_name_or_path": str(tmp_path / "run")}
    model, _ = load(**PRO, **given)
    assert (logits(model) - found).abs().max() <= 1e-6
    second, _ = train("second", **PRO, **given)
    assert (logits(comes_back(second, tmp_path / "second")) - found).abs().max() > 1e-4


def test_what_does_not_fit_is_told_before_loading(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 44."""
    monkeypatch.setattr("engine.models.load_model", None)
    with pytest.raises(BadInput, match="4 blocks can't be cut into 3 groups") as caught:
        train("run", **{**FREEZE, "freeze_trainable_layers": 3})
    assert caught.value.problem.hint.endswith("1, 2, 4.")
    for setting in ("freeze_trainable_modules", "freeze_extra_modules"):
        with pytest.raises(BadInput, match="no module named nothing") as caught:
            train("run", finetuning_type="freeze", **{setting: "nothing"})
        assert caught.value.problem.setting == setting


def test_a_model_without_a_count_of_blocks_is_told(
    train: Any, strong_folder: Path, tmp_path: Path
) -> None:
    import shutil

    odd = Path(shutil.copytree(strong_folder, tmp_path / "odd"))
    described = json.loads((odd / "config.json").read_text("utf-8"))
    del described["num_hidden_layers"]
    (odd / "config.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(BadInput, match="doesn't say how many blocks"):
        train("run", **FREEZE, model_name_or_path=str(odd))


def test_blocks_of_another_make_are_told() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=8, n_layer=2, n_head=2))
    with pytest.raises(BadInput, match=r"no self_attn\.o_proj"):
        expand_blocks(model, 1)


def test_an_adapters_blocks_that_fit_no_base_are_told(
    train: Any, comes_back: Any, tmp_path: Path, model_folder: Path
) -> None:
    config, _ = train("run", **PRO)
    with pytest.raises(BadInput, match="can't stand among 3 blocks"):
        comes_back(config, tmp_path / "run", model_name_or_path=str(model_folder))
