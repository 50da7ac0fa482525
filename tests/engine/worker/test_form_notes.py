"""What the form tells of this model on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import RunConfig, read_flat
from engine.models import demo_card
from engine.worker.form_notes import UNPACKED, form_notes, rate_curve


def config(**values: Any) -> RunConfig:
    return read_flat({"model_name_or_path": "demo", "dataset": "identity", **values}).config


def test_quantisation_says_what_each_way_takes_and_marks_the_chosen_one() -> None:
    (note,) = form_notes("quantization_bit", config(quantization_bit=4), demo_card())
    rows = {name: (figure, now) for name, figure, now in note.rows}
    assert [name for name, _, now in note.rows if now] == ["4-bit nf4"]
    sizes = {name: int(figure.split()[0]) for name, (figure, _) in rows.items() if figure}
    assert sizes["as they are"] > sizes["8-bit int8"] > sizes["4-bit nf4"] > sizes["1-bit hqq"]
    assert note.rows[-1][0] == UNPACKED


def test_hqq_is_marked_by_its_bits() -> None:
    chosen = config(quantization_bit=3, quantization_method="hqq")
    (note,) = form_notes("quantization_method", chosen, demo_card())
    assert [name for name, _, now in note.rows if now] == ["3-bit hqq"]


def test_without_bits_nothing_is_slower() -> None:
    (note,) = form_notes("quantization_bit", config(), demo_card())
    assert [name for name, _, now in note.rows if now] == ["as they are"]
    assert UNPACKED not in [name for name, _, _ in note.rows]


def test_without_a_card_nothing_is_told_of_weights() -> None:
    assert form_notes("quantization_bit", config(), None) == ()


def test_optimisers_that_cannot_run_here_say_why() -> None:
    (note,) = form_notes("optim", config(), None)
    assert any("adamw_torch_xla" in text for text, _, _ in note.rows)


def test_attention_says_which_and_why() -> None:
    (note,) = form_notes("flash_attn", config(flash_attn="disabled"), demo_card())
    assert "eager" in note.rows[0][0] and "because" in note.rows[0][0]


def test_other_settings_have_no_notes() -> None:
    assert form_notes("lora_rank", config(), demo_card()) == ()


def test_the_rate_rises_and_falls_over_the_steps_of_the_run() -> None:
    chosen = config(
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_ratio=0.5,
        num_train_epochs=2,
        per_device_train_batch_size=1,
    )
    rates, steps = rate_curve("warmup_ratio", chosen, 20, 9)
    assert steps == 40
    assert rates[4] == pytest.approx(1e-3, rel=0.05)
    assert rates[0] < rates[2] < rates[4] > rates[6] > rates[8]


def test_a_setting_that_shapes_no_rate_draws_none() -> None:
    assert rate_curve("lora_rank", config(), 20, 9) == ((), 0)
