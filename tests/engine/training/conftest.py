"""A tiny random Llama with a byte-level tokenizer, a few rows, and sessions that listen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = [
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "sun",
    "moon",
    "star",
    "day",
    "night",
    "rain",
]


def make_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<|im_start|>", "<|im_end|>"])}
    for letter in alphabet:
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
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reads_as_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama that reads and writes as the demo model does."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from engine.models import resolve
    from engine.problem import BadInput

    try:
        demo = resolve("demo", None, progress=lambda *_: None).path
    except BadInput as fault:
        pytest.skip(f"the demo model can't be fetched here: {fault}")
    tokenizer = AutoTokenizer.from_pretrained(demo)
    folder = tmp_path_factory.mktemp("demo-like")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "instruction": f"say {WORDS[i % 12]}",
            "output": " ".join(WORDS[(i + j) % 12] for j in range(1 + i % 4)),
        }
        for i in range(22)
    ]
    (folder / "small.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "dataset_info.json").write_text(
        json.dumps({"small": {"file_name": "small.json"}}), encoding="utf-8"
    )
    return folder


@pytest.fixture
def make_config(model_folder: Path, data_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model_folder),
            "dataset": "small",
            "dataset_dir": str(data_folder),
            "stage": "sft",
            "finetuning_type": "lora",
            "do_train": True,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "num_train_epochs": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_steps": 100,
            "lora_dropout": 0.1,
            "use_cpu": True,
            "bf16": False,
            "memory_reserve_gb": 0,
            **changes,
        }
        return read_flat(flat, "test").config

    return make


class Listener:
    """Collects events; `on` may react to one (stop the run at a step, for instance)."""

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
def make_session() -> Callable[..., Any]:
    def make(folder: Path, listener: Listener | None = None) -> tuple[Any, Listener]:
        from engine.runs.session import JobSession

        listener = listener or Listener()
        return JobSession("test", folder, listener), listener

    return make
