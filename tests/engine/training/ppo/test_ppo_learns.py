"""PPO learns: a random model raises a reward that a few lines of Python can check."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.events import Completions, StepLogged
from engine.training import run_training

# The share of an answer's letters that are small ones: about an eighth at the start, at most 1.
REWARD = """
def small_letters(completions, prompts, answers):
    return [sum("a" <= x <= "z" for x in text) / max(1, len(text)) for text in completions]
"""

LEARNING = {
    "stage": "ppo",
    "finetuning_type": "lora",
    "lora_rank": 8,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "ppo_buffer_size": 2,
    "ppo_epochs": 4,
    "ppo_kl_coef": 0.001,
    "ppo_target": 30.0,
    "max_steps": 45,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "max_new_tokens": 12,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
}


@pytest.fixture
def sharp_model(model_folder: Path, tmp_path: Path) -> Path:
    """The tiny random model with a head wide enough to prefer one token to all others.

    As it comes its logits stay within ±0.7, whatever an adapter does before the head.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(model_folder), tie_word_embeddings=False)
    torch.manual_seed(0)
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)
    folder = tmp_path / "sharp"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(model_folder)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_simple_reward_nears_its_maximum(
    sharp_model: Path, make_config, make_session, tmp_path: Path
) -> None:
    file = tmp_path / "letters.py"
    file.write_text(REWARD, encoding="utf-8")
    session, listener = make_session(tmp_path / "run")
    config = make_config(
        **LEARNING, model_name_or_path=str(sharp_model), reward_funcs=f"{file}:small_letters"
    )
    run_training(config, session)
    rewards = [e.watched["reward"] for e in listener.of(StepLogged)]
    first, last = sum(rewards[:3]) / 3, sum(rewards[-5:]) / 5
    print(f"reward {first:.3f} -> {last:.3f} in {len(rewards)} steps")
    assert first < 0.3
    assert last >= 0.9
    shown = listener.of(Completions)[-1]
    assert len(shown.rows) == 8
