"""Vision-language models train on rows with pictures, see them, stop, resume and answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"
FAMILIES = ("llava", "qwen2_vl")
MORE = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "smolvlm"))


@pytest.fixture
def describe(vision_folder: Callable[[str], Path], picture_set: Path) -> Callable[..., Any]:
    return lambda family, **changes: media_config(
        vision_folder(family), picture_set, "colours", **changes
    )


CELLS = [
    pytest.param(
        family,
        method,
        stage,
        marks=() if method == "lora" and family in FAMILIES else pytest.mark.slow,
    )
    for family in (*FAMILIES, "gemma3", "smolvlm")
    for method in ("lora", "full", "freeze")
    for stage in ("sft", "dpo")
]


@pytest.mark.parametrize(("family", "method", "stage"), CELLS)
def test_every_method_trains_saves_and_is_loaded_again(
    family: str, method: str, stage: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(family, stage=stage, finetuning_type=method, freeze_trainable_layers=1)
    session, listener = make_session(tmp_path / "run")
    result = run_training(config, session)
    assert result["steps"] == 3
    assert len(listener.of(StepLogged)) == 3
    assert (tmp_path / "run" / "processor_config.json").is_file()
    said = answer(config, tmp_path / "run", "<image>Which colour?", "red.png")
    assert isinstance(said, str)


@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_a_model_learns_what_is_in_a_picture(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    # Only the picture tells the rows apart: their text is the same.
    config = describe(
        family,
        finetuning_type="full",
        max_steps=70,
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        learning_rate=1e-2,
        per_device_train_batch_size=5,
        logging_steps=10,
    )
    base = Path(config.model_name_or_path)
    before = {name: answer(config, base, "<image>Which colour?", f"{name}.png")
              for name in ("red", "green", "blue")}  # fmt: skip
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    after = {name: answer(config, tmp_path / "run", "<image>Which colour?", f"{name}.png")
             for name in ("red", "green", "blue")}  # fmt: skip
    assert listener.of(StepLogged)[-1].loss < 0.1
    assert after == {"red": "red", "green": "green", "blue": "blue"}
    assert after != before


needs_corpora = pytest.mark.skipif(
    not (CORPORA / "mllm_demo.json").is_file(), reason="the demonstration sets are not here"
)


@needs_corpora
@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_the_published_picture_rows_change_an_answer(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(
        family,
        dataset="mllm_demo",
        dataset_dir=str(CORPORA),
        finetuning_type="lora",
        max_steps=20,
        per_device_train_batch_size=3,
        cutoff_len=1024,
    )
    base = Path(config.model_name_or_path)
    asked = ("<image>Who is he?", str(CORPORA / "mllm_demo_data" / "2.jpg"))
    before = answer(config, base, *asked)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert logged[-1].loss < logged[0].loss * 0.9
    assert not [line for line in listener.of(LogLine) if "left out" in line.text]
    assert answer(config, tmp_path / "run", *asked) != before


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_run_goes_on_exactly(
    family: str, method: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    changes = {
        "finetuning_type": method,
        "lora_dropout": 0.1,
        "freeze_vision_tower": False,
        "max_steps": 4,
    }
    whole, parts = whole_and_stopped(partial(describe, family), make_session, tmp_path, changes)
    assert parts == whole
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def weights(run: Path) -> dict[str, bytes]:
    from safetensors import safe_open

    (file,) = run.glob("*model.safetensors")
    with safe_open(file, "pt") as opened:
        return {key: opened.get_tensor(key).numpy().tobytes() for key in opened.keys()}  # noqa: SIM118


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluating_and_predicting_see_the_pictures(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    from engine.evaluation import run_evaluation

    config = describe(family, do_train=False, do_eval=True, dataset=None, eval_dataset="colours")
    session, _ = make_session(tmp_path / "seen")
    seen = run_evaluation(config, session)
    other = blinded(Path(config.dataset_dir), tmp_path / "white")
    session, _ = make_session(tmp_path / "unseen")
    unseen = run_evaluation(replace(config, dataset_dir=str(other)), session)
    assert seen["eval_samples"] == unseen["eval_samples"] == 5
    assert seen["eval_tokens"] == unseen["eval_tokens"]
    assert seen["eval_loss"] != unseen["eval_loss"]

    together = predicted(config, make_session, tmp_path / "predicted", 3)
    assert together == predicted(config, make_session, tmp_path / "alone", 1)
    assert len(together) == 5


def blinded(folder: Path, into: Path) -> Path:
    """The same set with white pictures of the same size."""
    from PIL import Image

    shutil.copytree(folder, into)
    for path in into.glob("*.png"):
        with Image.open(path) as picture:
            Image.new("RGB", picture.size, "white").save(path)
    return into


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_is_the_adapter_merged(
    family: str, describe: Any, make_session: Any, tmp_path: Path
) -> None:
    config = describe(family, max_steps=5)
    train_and_merge(config, make_session, tmp_path)
    asked = ("<image>Which colour?", "blue.png")
    assert answer(config, tmp_path / "run", *asked) == answer(config, tmp_path / "whole", *asked)
    assert (tmp_path / "whole" / "processor_config.json").is_file()
    assert "AutoModelForImageTextToText" in (tmp_path / "whole" / "README.md").read_text()


def test_a_model_of_text_refuses_pictures_in_one_sentence(
    describe: Any, model_folder: Path, make_session: Any, tmp_path: Path
) -> None:
    config = describe("llava", model_name_or_path=str(model_folder))
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(BadInput, match="reads only text") as refused:
        run_training(config, session)
    assert refused.value.problem.setting == "model_name_or_path"


def test_rows_whose_pictures_do_not_fit_are_left_out_by_number(
    describe: Any, make_session: Any, tmp_path: Path
) -> None:
    # Row 4 has two pictures of 16 tokens each.
    config = describe("llava", cutoff_len=32, max_steps=1)
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    (line,) = [line.text for line in listener.of(LogLine) if "left out" in line.text]
    assert line.startswith("colours: 1 row left out; row 4: its pictures alone are 32 tokens of")
    assert "set cutoff_len to at least" in line
