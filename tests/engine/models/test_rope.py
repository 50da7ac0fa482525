"""Positions are scaled by the right factor in the model itself, only where that is asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.config import RunConfig
from engine.models.load import load_model
from engine.models.precision import Precision
from engine.models.rope import Scaling, into_config, scaling, stored_scaling
from engine.problem import BadInput

FP32 = Precision("fp32", "fp32", None, "fp32")
TRAINED, THETA, WIDTH = 64, 10000.0, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Any) -> Path:
    return save_llama(
        tmp_path_factory.mktemp("short"), max_position_embeddings=TRAINED, head_dim=WIDTH
    )


def plain() -> list[float]:
    return [THETA ** (-2 * i / WIDTH) for i in range(WIDTH // 2)]


def loaded(folder: Path, for_training: bool = True, **changes: Any) -> Any:
    changes = {"cutoff_len": 250, **changes}
    return load_model(folder, RunConfig(**changes), FP32, "cpu", for_training)


def frequencies(model: Any) -> list[float]:
    return model.model.rotary_emb.inv_freq.tolist()


def test_linear_divides_every_frequency_by_the_factor(folder: Path) -> None:
    model = loaded(folder, rope_scaling="linear")  # 250 / 64 -> 4
    assert frequencies(model) == pytest.approx([f / 4 for f in plain()])
    assert model.config.max_position_embeddings == 256


def test_llama3_divides_the_slow_ones_and_leaves_the_fast(folder: Path) -> None:
    found = frequencies(loaded(folder, rope_scaling="llama3"))
    for before, after in zip(plain(), found, strict=True):
        length = 2 * math.pi / before
        if length < TRAINED / 4:
            assert after == pytest.approx(before)
        elif length > TRAINED:
            assert after == pytest.approx(before / 4)
        else:
            assert before / 4 < after < before


def test_yarn_spreads_the_slow_ones_and_sharpens_attention(folder: Path) -> None:
    model = loaded(folder, rope_scaling="yarn")
    found = frequencies(model)
    assert found[0] == pytest.approx(plain()[0])
    assert found[-1] == pytest.approx(plain()[-1] / 4)
    assert model.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_dynamic_raises_the_base_by_each_batch_alone(folder: Path) -> None:
    import torch

    model = loaded(folder, rope_scaling="dynamic")
    assert frequencies(model) == pytest.approx(plain())
    rotary = model.model.rotary_emb

    def at(length: int) -> list[float]:
        rotary(torch.zeros(1), torch.arange(length)[None])
        return rotary.inv_freq.tolist()

    def expected(length: int) -> list[float]:
        base = THETA * (4 * length / TRAINED - 3) ** (WIDTH / (WIDTH - 2))
        return [base ** (-2 * i / WIDTH) for i in range(WIDTH // 2)]

    assert at(200) == pytest.approx(expected(200))
    # A longer batch before it must not be felt: a resumed run would not have seen it.
    assert at(100) == pytest.approx(expected(100))
    assert at(40) == pytest.approx(plain())


def test_factors_two_outside_of_training(folder: Path) -> None:
    model = loaded(folder, for_training=False, rope_scaling="linear")
    assert frequencies(model) == pytest.approx([f / 2 for f in plain()])


def test_rows_within_the_context_scale_nothing(folder: Path) -> None:
    model = loaded(folder, rope_scaling="linear", cutoff_len=TRAINED)
    assert frequencies(model) == pytest.approx(plain())
    assert "nothing is scaled" in model.finetui_computing.notes[-1]


def test_a_saved_model_is_scaled_once_only(folder: Path, tmp_path: Path) -> None:
    first = loaded(folder, rope_scaling="yarn")
    first.save_pretrained(tmp_path)
    asked = loaded(tmp_path, for_training=False, rope_scaling="yarn")
    assert frequencies(asked) == pytest.approx(frequencies(first))
    trained_on = loaded(tmp_path, rope_scaling="yarn", cutoff_len=250)
    assert frequencies(trained_on) == pytest.approx(frequencies(first))
    further = loaded(tmp_path, rope_scaling="yarn", cutoff_len=512)
    assert further.config.rope_parameters["factor"] == 8
    assert further.config.rope_parameters["original_max_position_embeddings"] == TRAINED


def test_another_way_than_the_models_own_is_refused(folder: Path, tmp_path: Path) -> None:
    loaded(folder, rope_scaling="yarn").save_pretrained(tmp_path)
    with pytest.raises(BadInput) as caught:
        loaded(tmp_path, rope_scaling="linear", cutoff_len=1000)
    assert "scaled by yarn already" in caught.value.problem.what
    assert caught.value.problem.setting == "rope_scaling"


def test_a_model_without_rotary_positions_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config

    with pytest.raises(BadInput) as caught:
        scaling(GPT2Config(), "yarn", True, 4096, str(tmp_path))
    assert "has none" in caught.value.problem.what


def test_far_layers_alone_are_scaled_where_others_see_a_window() -> None:
    from transformers import Gemma3TextConfig

    config = Gemma3TextConfig(num_hidden_layers=6, max_position_embeddings=1024)
    found = scaling(config, "linear", True, 3000, "")
    assert isinstance(found, Scaling)
    assert found.parameters["full_attention"]["factor"] == 3
    assert found.parameters["sliding_attention"] == config.rope_parameters["sliding_attention"]


def test_an_adapter_says_how_it_was_trained(folder: Path, tmp_path: Path) -> None:
    from engine.models.rope import write_scaling

    model = loaded(folder, rope_scaling="linear")
    write_scaling(model, tmp_path)
    found = stored_scaling([tmp_path])
    assert found is not None and found.context == 256
    plainly = load_model(folder, RunConfig(), FP32, "cpu", False, "language", [tmp_path])
    assert frequencies(plainly) == pytest.approx(frequencies(model))
    # Rows longer than the adapter reaches are scaled anew.
    longer = load_model(
        folder, RunConfig(rope_scaling="linear", cutoff_len=512), FP32, "cpu", True, "language",
        [tmp_path],
    )  # fmt: skip
    assert longer.config.rope_parameters["factor"] == 8
    (tmp_path / "rope_scaling.json").write_text("{")
    with pytest.raises(BadInput):
        stored_scaling([tmp_path])


def test_a_config_holds_it_as_transformers_writes_it(folder: Path) -> None:
    model = loaded(folder, rope_scaling="yarn")
    described = json.loads((folder / "config.json").read_text("utf-8"))
    into_config(described, model.finetui_computing.rope)
    assert described["rope_parameters"] == model.config.rope_parameters
    assert described["max_position_embeddings"] == 256
