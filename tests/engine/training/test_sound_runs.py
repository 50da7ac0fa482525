"""Models that hear train on rows with sounds, hear them, stop, resume and answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine, StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.media_runs import (
    answer,
    media_config,
    predicted,
    train_and_merge,
    whole_and_stopped,
)

TONES = {"low": "low.wav", "middle": "middle.flac", "high": "high.ogg"}


@pytest.fixture
def describe(sound_folder: Path, sound_set: Path) -> Callable[..., Any]:
    return lambda **changes: media_config(sound_folder, sound_set, "tones", **changes)


def heard(config: Any, folder: Path) -> dict[str, str]:
    return {tone: answer(config, folder, "<audio>Which tone?", name) for tone, name in
            TONES.items()}  # fmt: skip


@pytest.mark.parametrize("stage", ["sft", "dpo"])
@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(m, marks=pytest.mark.slow) for m in ("full", "freeze"))]
)
def test_every_method_trains_saves_and_is_loaded_again(
    method: str, stage: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(stage=stage, finetuning_type=method, freeze_trainable_layers=1)
    session, listener = make_session(tmp_path / "run")
    assert run_training(config, session)["steps"] == 3
    assert len(listener.of(StepLogged)) == 3
    assert not [line for line in listener.of(LogLine) if "left out" in line.text]
    assert (tmp_path / "run" / "processor_config.json").is_file()
    assert isinstance(answer(config, tmp_path / "run", "<audio>Which tone?", "low.wav"), str)


def test_another_family_trains_and_answers(
    describe: Any, sound_model: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(
        model_name_or_path=str(sound_model("audioflamingo3")), max_steps=30,
        per_device_train_batch_size=5, freeze_multi_modal_projector=False,
    )  # fmt: skip
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert logged[-1].loss < logged[0].loss * 0.8
    assert not [line for line in listener.of(LogLine) if "left out" in line.text]
    asked = "<audio>Which tone?"
    assert answer(config, tmp_path / "run", asked, "low.wav") != answer(
        config, Path(config.model_name_or_path), asked, "low.wav"
    )


@pytest.mark.parametrize("family", ["qwen2_audio", "audioflamingo3"])
@pytest.mark.parametrize("precision", ["bf16", "pure_bf16"])
def test_sounds_train_in_sixteen_bits(
    family: str, precision: str, describe: Any, sound_model: Any, make_session: Any, tmp_path: Path
) -> None:
    changes = {"bf16": precision == "bf16", "pure_bf16": precision == "pure_bf16"}
    config = describe(
        model_name_or_path=str(sound_model(family)),
        max_steps=2,
        freeze_vision_tower=False,
        **changes,
    )
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    assert [step.loss > 0 for step in listener.of(StepLogged)] == [True, True]


def test_lora_leaves_the_ear_as_it_is(describe: Any, make_session: Any, tmp_path: Path) -> None:
    from safetensors import safe_open

    names = {}
    for frozen in (True, False):
        run = tmp_path / str(frozen)
        session, _ = make_session(run)
        run_training(describe(freeze_vision_tower=frozen, max_steps=1), session)
        with safe_open(run / "adapter_model.safetensors", "pt") as opened:
            names[frozen] = [key for key in opened.keys() if "audio_tower" in key]  # noqa: SIM118
    assert not names[True] and names[False]


def test_a_model_learns_what_it_hears(describe: Any, make_session: Any, tmp_path: Path) -> None:
    # Only the sound tells the rows apart: their text is the same.
    config = describe(
        finetuning_type="full",
        max_steps=70,
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        per_device_train_batch_size=5,
        logging_steps=10,
    )
    base = Path(config.model_name_or_path)
    before = heard(config, base)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert logged[-1].loss < 0.1 < logged[0].loss
    assert heard(config, tmp_path / "run") == {tone: tone for tone in TONES} != before


def test_lora_lowers_the_loss_and_changes_an_answer(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(max_steps=30, per_device_train_batch_size=5)
    asked = ("<audio>Which tone?", "middle.flac")
    before = answer(config, Path(config.model_name_or_path), *asked)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert logged[-1].loss < logged[0].loss * 0.8
    assert answer(config, tmp_path / "run", *asked) != before


def test_a_stopped_run_goes_on_exactly(describe: Any, make_session: Any, tmp_path: Path) -> None:
    changes = {"lora_dropout": 0.1, "freeze_vision_tower": False, "max_steps": 4}
    whole, parts = whole_and_stopped(describe, make_session, tmp_path, changes)
    assert parts == whole


def test_evaluating_and_predicting_hear_the_sounds(
    describe: Any, tiny_sound: Any, make_session: Any, tmp_path: Path
) -> None:
    from engine.evaluation import run_evaluation

    config = describe(do_train=False, do_eval=True, dataset=None, eval_dataset="tones")
    session, _ = make_session(tmp_path / "heard")
    given = run_evaluation(config, session)
    other = tmp_path / "other"
    shutil.copytree(config.dataset_dir, other)
    tiny_sound.save_tone(other / "low.wav", 3000, 0.6, 8000)
    session, _ = make_session(tmp_path / "unheard")
    changed = run_evaluation(replace(config, dataset_dir=str(other)), session)
    assert given["eval_samples"] == changed["eval_samples"] == 5
    assert given["eval_tokens"] == changed["eval_tokens"]
    assert given["eval_loss"] != changed["eval_loss"]

    together = predicted(config, make_session, tmp_path / "predicted", 3)
    assert together == predicted(config, make_session, tmp_path / "alone", 1)
    assert len(together) == 5


def test_an_export_is_the_adapter_merged(describe: Any, make_session: Any, tmp_path: Path) -> None:
    config = describe(max_steps=5)
    train_and_merge(config, make_session, tmp_path)
    asked = ("<audio>Which tone?", "high.ogg")
    assert answer(config, tmp_path / "run", *asked) == answer(config, tmp_path / "whole", *asked)
    assert (tmp_path / "whole" / "processor_config.json").is_file()
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "AutoModelForMultimodalLM" in card and "audio-text-to-text" in card


def test_a_model_of_text_refuses_sounds_in_one_sentence(
    describe: Any, model_folder: Path, make_session: Any, tmp_path: Path
) -> None:
    config = describe(model_name_or_path=str(model_folder))
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match=r"tones holds sounds, and \S+ reads only text") as refused:
        run_training(config, session)
    assert refused.value.problem.setting == "model_name_or_path"


def test_a_model_of_sounds_refuses_pictures_in_one_sentence(
    describe: Any, picture_set: Path, make_session: Any, tmp_path: Path
) -> None:
    config = describe(dataset="colours", dataset_dir=str(picture_set))
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match=r"holds pictures, and \S+ reads only text and sounds"):
        run_training(config, session)


def test_another_rate_than_the_model_hears_is_refused(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match="is 8,000, and the model hears 16,000") as refused:
        run_training(describe(audio_sampling_rate=8000), session)
    assert refused.value.problem.setting == "audio_sampling_rate"
    assert refused.value.problem.hint == "Set audio_sampling_rate: 16000."


def test_sounds_that_do_not_fit_are_left_out_by_number(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    # Row 4 has two sounds, 15 and 37 tokens long.
    session, listener = make_session(tmp_path / "run")
    run_training(describe(cutoff_len=50, max_steps=1), session)
    (line,) = [line.text for line in listener.of(LogLine) if "left out" in line.text]
    assert "row 4: its sounds alone are" in line and "cut the sound shorter" in line
