"""A tiny random Llama with a byte-level ChatML tokenizer, small sets of rows, and a listener."""

from __future__ import annotations

import json
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
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
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
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter whose B is not zero, so that it changes the answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small = [
        {"instruction": f"say {word} {i}", "output": f"{word} " * (1 + i % 4)}
        for i, word in enumerate(["red", "green", "blue", "sun", "moon", "rain", "day"])
    ]
    other = [
        {
            "instruction": "And now?",
            "output": "Then it ends.",
            "history": [["Where does it begin?", "Here, at once."]],
            "system": "You tell stories.",
        },
        {"instruction": "你是谁？", "output": "我是助手。"},
        {"instruction": "x" * 400, "output": "too long for the context"},
    ]
    sets = {"small": small, "other": other}
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    info = {
        name: {
            "file_name": f"{name}.json",
            "columns": {
                "prompt": "instruction",
                "response": "output",
                "history": "history",
                "system": "system",
            },
        }
        for name in sets
    }
    (folder / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    return folder


@pytest.fixture
def make_config(model_folder: Path, data_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model_folder),
            "finetuning_type": "lora",
            "dataset_dir": str(data_folder),
            "eval_dataset": "small",
            "use_cpu": True,
            "infer_dtype": "float32",
            "do_sample": False,
            "max_new_tokens": 16,
            "per_device_eval_batch_size": 3,
            "cutoff_len": 256,
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
def make_session() -> Callable[[Path], tuple[Any, Listener]]:
    def make(folder: Path) -> tuple[Any, Listener]:
        from engine.runs.session import JobSession

        folder.mkdir(exist_ok=True)
        listener = Listener()
        return JobSession("test", folder, listener), listener

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "finetui-cache"))
    return tmp_path / "finetui-cache"
