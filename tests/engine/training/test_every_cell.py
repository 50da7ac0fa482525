"""Every stage by every method in both precisions: trains, is saved, is loaded again, and answers.

A tiny Llama with the demo model's own tokenizer and template (49,152 tokens), rows of the bundled
sets. `.pictures/cells.py` runs these tests and writes their results as the README's table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import JobFailed, StepLogged
from engine.training import run_training

STEPS = 3
DATA = Path(__file__).parents[3] / "data"
SETS = {
    "pt": "texts",
    "sft": "identity",
    "distill": "identity",
    "rm": "preference",
    "dpo": "preference",
    "kto": "feedback",
    "ppo": "identity",
    "grpo": "identity",
    "rloo": "identity",
}
OWN: dict[str, dict[str, Any]] = {
    "ppo": {"reward_funcs": "length", "reward_length": 4, "max_new_tokens": 8, "ppo_epochs": 1},
    "grpo": {"reward_funcs": "length", "reward_length": 4, "max_new_tokens": 8},
    "rloo": {"reward_funcs": "length", "reward_length": 4, "max_new_tokens": 8},
}
METHODS = ("lora", "full", "freeze")
PRECISIONS = {"fp32": {"bf16": False}, "bf16": {"bf16": False, "pure_bf16": True}}
CELLS = [(stage, method, name) for stage in SETS for method in METHODS for name in PRECISIONS]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    folder = tmp_path_factory.mktemp("cells")
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


@pytest.mark.parametrize(("stage", "method", "precision"), CELLS, ids=["-".join(c) for c in CELLS])
def test_trains_saves_and_comes_back(
    stage: str,
    method: str,
    precision: str,
    tiny: Path,
    tmp_path: Path,
    make_session: Callable[..., Any],
) -> None:
    run = tmp_path / "run"
    config = read_flat(
        {
            "model_name_or_path": str(tiny),
            "stage": stage,
            "finetuning_type": method,
            "freeze_trainable_layers": 1,
            "dataset": SETS[stage],
            "dataset_dir": str(DATA),
            "max_samples": 16,
            "cutoff_len": 96,
            "max_steps": STEPS,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "teacher_model": str(tiny) if stage == "distill" else None,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "memory_reserve_gb": 0,
            "do_train": True,
            **PRECISIONS[precision],
            **OWN.get(stage, {}),
        },
        "cell",
    ).config
    session, listener = make_session(run)
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == [1, 2, 3]
    assert all(math.isfinite(event.loss) for event in logged)
    assert not listener.of(JobFailed)
    comes_back(replace(config, do_train=False), tiny, run, moved=stage != "distill")


def comes_back(config: Any, base: Path, run: Path, moved: bool) -> None:
    """The saved weights differ from the start, and a fresh load of them answers (or scores).

    A student of itself has nothing to learn: its weights may stand still.
    """
    import torch

    from engine.models import attach_adapters, choose_precision, load_model, load_tokenizer
    from engine.models.score_head import scores

    precision = choose_precision(config, "cpu")
    head = "score" if config.stage == "rm" else "language"
    start = load_model(base, config, precision, "cpu", False, head)
    if config.finetuning_type == "lora":
        back: Any = attach_adapters(start, [run], precision, trainable=False)
        trained = {n: p for n, p in back.named_parameters() if "lora_B" in n}
        assert trained
        changed = any(p.abs().max() > 0 for p in trained.values())
    else:
        back = load_model(run, config, precision, "cpu", False, head)
        before = dict(start.named_parameters())
        changed = any(not torch.equal(p, before[n]) for n, p in back.named_parameters())
    assert changed or not moved
    tokenizer = load_tokenizer(base)
    inputs = tokenizer("Who are you?", return_tensors="pt")
    with torch.no_grad():
        if config.stage == "rm":
            found = scores(back, inputs["input_ids"], inputs["attention_mask"])
            assert found.shape == (1,) and torch.isfinite(found).all()
        else:
            answer = back.generate(**inputs, max_new_tokens=3, do_sample=False)
            assert answer.shape[1] > inputs["input_ids"].shape[1]
