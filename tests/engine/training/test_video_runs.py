"""Models that read videos train on rows with videos, see them, stop, resume and answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, find_dataset, open_rows
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

pytest.importorskip("av")
FAMILIES = ("qwen2_vl", "llava_next_video")
MORE = tuple(
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("qwen2_5_vl", "qwen3_vl", "video_llava", "llava_onevision", "smolvlm")
)


@pytest.fixture
def describe(video_folder: Callable[[str], Path], video_set: Path) -> Callable[..., Any]:
    usual = {"per_device_train_batch_size": 1, "cutoff_len": 1024, "video_max_pixels": 32 * 32}
    return lambda family, **changes: media_config(
        video_folder(family), video_set, "clips", **usual | changes
    )


CELLS = [
    pytest.param(
        family, method, stage,
        marks=() if (family, method) == ("qwen2_vl", "lora") else pytest.mark.slow,
    )
    for family in FAMILIES
    for method in ("lora", "full", "freeze")
    for stage in ("sft", "dpo")
]  # fmt: skip


@pytest.mark.parametrize(("family", "method", "stage"), CELLS)
def test_every_method_trains_saves_and_is_loaded_again(
    family: str, method: str, stage: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(
        family, stage=stage, finetuning_type=method, freeze_trainable_layers=1,
        per_device_train_batch_size=3,
    )  # fmt: skip
    session, listener = make_session(tmp_path / "run")
    assert run_training(config, session)["steps"] == 3
    assert len(listener.of(StepLogged)) == 3
    assert not [line for line in listener.of(LogLine) if "left out" in line.text]
    assert (tmp_path / "run" / "processor_config.json").is_file()
    assert isinstance(answer(config, tmp_path / "run", "<video>Which colour?", "red.mp4"), str)


@pytest.mark.parametrize("family", ["qwen2_vl", pytest.param("llava_next_video",
                                    marks=pytest.mark.slow), *MORE])  # fmt: skip
def test_a_model_learns_what_is_in_a_video(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    # Only the videos tell the rows apart: their text is the same.
    config = describe(
        family,
        finetuning_type="full",
        max_steps=70,
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        per_device_train_batch_size=1 if family == "llava_onevision" else 5,
        logging_steps=10,
    )
    if family == "llava_onevision":
        config = replace(config, max_steps=250)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    after = {name: answer(config, tmp_path / "run", "<video>Which colour?", f"{name}.mp4")
             for name in ("red", "green", "blue")}  # fmt: skip
    losses = [step.loss for step in listener.of(StepLogged)]
    assert losses[-1] < 0.1 < losses[0]
    assert after == {"red": "red", "green": "green", "blue": "blue"}


def test_an_adapter_alone_learns_and_its_answer_is_another(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(
        "qwen2_vl", finetuning_type="lora", max_steps=20, per_device_train_batch_size=5
    )
    asked = ("<video>Which colour?", "green.mp4")
    before = answer(config, Path(config.model_name_or_path), *asked)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert logged[-1].loss < logged[0].loss * 0.9
    assert answer(config, tmp_path / "run", *asked) != before


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_vl", "smolvlm"])
def test_a_stopped_run_goes_on_exactly(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    changes = {"lora_dropout": 0.1, "freeze_vision_tower": False, "max_steps": 4}
    whole, parts = whole_and_stopped(partial(describe, family), make_session, tmp_path, changes)
    assert parts == whole and len(whole) == 4


def test_evaluating_and_predicting_see_the_videos(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    from engine.evaluation import run_evaluation

    config = describe("qwen2_vl", do_train=False, do_eval=True, dataset=None, eval_dataset="clips")
    session, _ = make_session(tmp_path / "seen")
    seen = run_evaluation(config, session)
    session, _ = make_session(tmp_path / "fewer")
    fewer = run_evaluation(replace(config, video_maxlen=2), session)
    assert seen["eval_samples"] == fewer["eval_samples"] == 5
    assert seen["eval_tokens"] == fewer["eval_tokens"]
    assert seen["eval_loss"] != fewer["eval_loss"]
    together = predicted(config, make_session, tmp_path / "predicted", 3)
    assert together == predicted(config, make_session, tmp_path / "alone", 1)


def test_an_export_is_the_adapter_merged(describe: Any, make_session: Any, tmp_path: Path) -> None:
    config = describe("qwen2_vl", max_steps=5)
    train_and_merge(config, make_session, tmp_path)
    asked = ("<video>Which colour?", "blue.mp4")
    assert answer(config, tmp_path / "run", *asked) == answer(config, tmp_path / "whole", *asked)


def test_a_model_of_pictures_refuses_videos_in_one_sentence(
    describe: Any, vision_folder: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe("qwen2_vl", model_name_or_path=str(vision_folder("llava")))
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match=r"clips holds videos, and .* reads only text and pictures"):
        run_training(config, session)


def test_rows_whose_videos_are_broken_or_too_long_are_left_out_by_number(
    describe: Any, video_set: Path, tiny_video: Any, make_session: Any, tmp_path: Path
) -> None:
    def row(name: str) -> dict[str, Any]:
        turns = [{"role": "user", "content": "<video>?"}, {"role": "assistant", "content": "red"}]
        return {"messages": turns, "videos": [name]}

    tiny_video.write_video(tmp_path / "red.mp4", [tiny_video.RED] * 16)
    tiny_video.write_video(tmp_path / "long.mp4", [tiny_video.RED] * 240)
    (tmp_path / "text.mp4").write_text("no video")
    names = ["red.mp4", "text.mp4", "long.mp4", "absent.mp4", "../red.mp4"]
    (tmp_path / "clips.json").write_text(json.dumps([row(name) for name in names]))
    (tmp_path / "dataset_info.json").write_text((video_set / "dataset_info.json").read_text())
    config = describe("qwen2_vl", dataset_dir=str(tmp_path), cutoff_len=100, max_steps=1)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    (line,) = [line.text for line in listener.of(LogLine) if "left out" in line.text]
    assert line.startswith("clips: 4 rows left out; row 2: text.mp4 is no video that can be read")
    rows = open_rows(find_dataset("clips", tmp_path))
    encoder = Encoder(Path(config.model_name_or_path), config)
    reasons = [str(one) for one in encoder.encode_batch([rows.example(i) for i in range(5)])[1:]]
    assert "row 3: its videos alone are 120 tokens of 147" in reasons[1]
    assert "lower video_maxlen or video_max_pixels" in reasons[1]
    assert "row 4: there is no video absent.mp4" in reasons[2]
    assert "row 5: the video ../red.mp4 lies outside" in reasons[3]
