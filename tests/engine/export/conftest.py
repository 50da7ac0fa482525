"""Tiny random Llamas (tied and not, fp32 and bf16), adapters made by peft, and a listener."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tokenizer(folder: Path) -> Any:
    """One token a byte, so that a Chinese character takes three."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<|im_start|>", "<|im_end|>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="session")
def save_texts() -> Callable[[Path], Any]:
    return save_tokenizer


def save_model(folder: Path, tied: bool, dtype: str = "float32") -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(3)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
            pad_token_id=0,
            eos_token_id=2,
            bos_token_id=2,
            tie_word_embeddings=tied,
        )
    )
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tied"), True)


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("apart"), False)


@pytest.fixture(scope="session")
def in_bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("bf16"), True, "bfloat16")


@pytest.fixture
def make_adapter(tmp_path: Path) -> Callable[..., Path]:
    """Save an adapter with random, non-zero weights; `settings` are LoraConfig's."""

    def make(base: Path, name: str = "adapter", seed: int = 5, **settings: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", **settings}
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in adapted.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight) * 0.1)
        adapted.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Any]:
    def make(model: Path, *adapters: Path, **changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model),
            "adapter_name_or_path": ",".join(map(str, adapters)) or None,
            "finetuning_type": "lora",
            "use_cpu": True,
            "export_dir": str(tmp_path / "out" / "exported"),
            **changes,
        }
        return read_flat(flat, "test").config

    return make


class Listener:
    """A session's listener; `on` may react to an event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.on: Callable[[Any], None] | None = None

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if self.on is not None:
            self.on(event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture
def make_session() -> Callable[[], tuple[Any, Listener]]:
    def make() -> tuple[Any, Listener]:
        from engine.runs.session import JobSession

        listener = Listener()
        return JobSession("test", None, listener), listener

    return make
