"""A tiny random Llama with a byte-level tokenizer, and a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    """A model as one begins: small weights, the head tied to the embeddings."""
    return save_llama(
        tmp_path_factory.mktemp("tiny"), seed=0, initializer_range=0.02, tie_word_embeddings=True
    )


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
            "infer_dtype": "float32",  # as it was trained, whatever the processor multiplies
            "memory_reserve_gb": 0,
            **changes,
        }
        return read_flat(flat, "test").config

    return make
