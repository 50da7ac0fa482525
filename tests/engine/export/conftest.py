"""Tiny random Llamas (tied and not, fp32 and bf16), and adapters made by peft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    return save_llama(tmp_path_factory.mktemp("tied"), tie_word_embeddings=True)


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    return save_llama(tmp_path_factory.mktemp("apart"), tie_word_embeddings=False)


@pytest.fixture(scope="session")
def in_bf16(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    return save_llama(tmp_path_factory.mktemp("bf16"), dtype="bfloat16", tie_word_embeddings=True)


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
