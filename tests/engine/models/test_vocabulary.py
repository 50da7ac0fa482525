"""New tokens: both tokenizers agree, and their embeddings start as they should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.datasets import Encoder
from engine.models.load import attach_adapters, load_model, load_tokenizer
from engine.models.precision import Precision
from engine.models.vocabulary import add_to_tokenizer, grow_embeddings
from engine.problem import BadInput

FP32 = Precision("fp32", "fp32", None, "fp32")
TEXT = "so <|think|>hm</think> sunnyday rainy <|im_start|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    """259 tokens, a head of its own."""
    return save_llama(tmp_path_factory.mktemp("bytes"), hidden_size=64)


@pytest.fixture
def descriptions(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text('"<|think|>": abc\n"</think>": z\n', encoding="utf-8")
    return path


def config(**changes: Any) -> RunConfig:
    return RunConfig(**{"add_tokens": "sunny, rainy", **changes})


def grown(folder: Path, run: RunConfig) -> tuple[Any, Any]:
    encoder = Encoder(folder, run)
    model = load_model(folder, run, FP32, "cpu", True)
    grow_embeddings(model, encoder.tokenizer, run)
    return model, encoder.tokenizer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"add_special_tokens": "<|think|>,</think>"},
        {"add_tokens": None, "add_special_tokens": "<|im_end|>,<|think|>"},
        {"split_special_tokens": True},
    ],
)
def test_both_tokenizers_agree_also_after_saving(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = config(**changes)
    ours = Encoder(folder, run).tokenizer
    theirs = load_tokenizer(folder, split_special_tokens=run.split_special_tokens)
    add_to_tokenizer(theirs, run)
    assert theirs.get_vocab() == ours.backend.get_vocab(True)
    ids = ours.encode(TEXT)
    assert theirs(TEXT, add_special_tokens=False).input_ids == ids
    theirs.save_pretrained(tmp_path)
    again = Encoder(tmp_path, RunConfig()).tokenizer
    assert again.encode(TEXT) == ids
    assert again.special_texts == ours.special_texts
    assert again.decode(ids, skip_special_tokens=True) == ours.decode(ids, True)


def test_new_tokens_are_never_split_and_special_ones_are_left_out(folder: Path) -> None:
    tokenizer = Encoder(folder, config(add_special_tokens="<|think|>")).tokenizer
    assert len(tokenizer.encode("sunny")) == 1
    ids = tokenizer.encode("<|think|>a")
    assert len(ids) == 2
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a"
    assert tokenizer.new_ids == {259, 260, 261}


def test_split_special_tokens_are_ordinary_text(folder: Path) -> None:
    tokenizer = Encoder(folder, config(split_special_tokens=True)).tokenizer
    assert len(tokenizer.encode("<|im_end|>")) == len("<|im_end|>")
    assert tokenizer.decode(tokenizer.encode("<|im_end|>")) == "<|im_end|>"


def test_rows_grow_to_a_multiple_of_64_and_old_ones_stay(folder: Path) -> None:
    import torch

    before = load_model(folder, RunConfig(), FP32, "cpu", True)
    model, _ = grown(folder, config())
    for name in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, name)().weight, getattr(model, name)().weight
        assert new.shape == (320, 64)
        assert torch.equal(new[:259], old)
    assert model.config.vocab_size == 320


def test_noise_round_the_mean(folder: Path) -> None:
    import torch

    model, _ = grown(folder, config())
    weight = model.get_input_embeddings().weight.detach()
    off = weight[259:] - weight[:259].mean(0)
    assert off.std().item() == pytest.approx(1 / math.sqrt(64), rel=0.1)
    assert off.mean().abs() < 0.01
    again, _ = grown(folder, config())
    assert torch.equal(again.get_input_embeddings().weight, weight)
    other, _ = grown(folder, config(seed=7))
    assert not torch.equal(other.get_input_embeddings().weight, weight)


@pytest.mark.parametrize("noise", [False, True])
def test_descriptions_give_the_start(folder: Path, descriptions: Path, noise: bool) -> None:
    import torch

    run = config(
        new_special_tokens_config=str(descriptions),
        add_special_tokens="<|ignored|>",
        init_special_tokens="desc_init_w_noise" if noise else "desc_init",
    )
    model, tokenizer = grown(folder, run)
    assert tokenizer.backend.token_to_id("<|ignored|>") is None
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        place = tokenizer.backend.token_to_id("<|think|>")
        mean = weight[tokenizer.encode("abc")].mean(0)
        assert torch.allclose(weight[place], mean, atol=1e-6) != noise
        assert (weight[place] - mean).abs().max() < 1
        plain = tokenizer.backend.token_to_id("sunny")
        assert not torch.allclose(weight[plain], weight[:259].mean(0), atol=1e-3)


def test_spare_rows_are_taken_before_any_grow(tmp_path: Path, save_llama: Any) -> None:
    import torch

    folder = save_llama(tmp_path, vocab_size=300)
    before = load_model(folder, RunConfig(), FP32, "cpu", True).get_input_embeddings().weight
    model, tokenizer = grown(folder, config())
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == 300
    changed = (weight != before).any(1).nonzero().squeeze(1).tolist()
    assert changed == sorted(tokenizer.new_ids) == [259, 260]
    assert torch.isfinite(weight).all()


def test_tied_heads_grow_together(tmp_path: Path, save_llama: Any) -> None:
    folder = save_llama(tmp_path, tie_word_embeddings=True)
    model, _ = grown(folder, config())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_embeddings_of_another_kind_cant_grow(folder: Path) -> None:
    """Rule 52."""
    import torch

    class Scaled(torch.nn.Embedding):
        pass

    run = config()
    model: Any = load_model(folder, run, FP32, "cpu", True)
    model.set_input_embeddings(Scaled(259, 64))
    with pytest.raises(BadInput) as caught:
        grow_embeddings(model, Encoder(folder, run).tokenizer, run)
    assert "Scaled" in caught.value.problem.what
    assert caught.value.problem.setting == "resize_vocab"


def test_resize_alone_says_that_there_is_room(tmp_path: Path, save_llama: Any) -> None:
    folder = save_llama(tmp_path, vocab_size=320)
    run = RunConfig(resize_vocab=True)
    model = load_model(folder, run, FP32, "cpu", True)
    (note,) = grow_embeddings(model, Encoder(folder, run).tokenizer, run)
    assert "enough for all 259 tokens" in note


def test_an_adapter_made_elsewhere_brings_its_rows(folder: Path, tmp_path: Path) -> None:
    """As peft saves one after resize_token_embeddings, with the rows trained whole."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base.resize_token_embeddings(270)
    model = get_peft_model(
        base, LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    )
    model.save_pretrained(tmp_path)
    plain = load_model(folder, RunConfig(), FP32, "cpu", False)
    back = attach_adapters(plain, [tmp_path], FP32, trainable=False)
    ids = torch.tensor([[5, 269, 7]])
    assert torch.allclose(back(ids).logits, model.eval()(ids).logits)
