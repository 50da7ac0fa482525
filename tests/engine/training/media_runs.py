"""What the tests of runs on rows with media share: settings, stops, predictions, answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config import read_flat
from engine.events import StepLogged
from engine.training import run_training
from tests.engine.training.stopping import stopped_at

# Loss and gradient norm by the step.
Losses = dict[int, tuple[float, float]]


def media_config(model: Path, folder: Path, rows: str, /, **changes: Any) -> Any:
    """Three steps on the set `rows` of a folder; its pairs are called `better`."""
    flat = {
        "model_name_or_path": str(model),
        "dataset": "better" if changes.get("stage") == "dpo" else rows,
        "dataset_dir": str(folder),
        "stage": "sft",
        "do_train": True,
        "per_device_train_batch_size": 2,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_steps": 100,
        "cutoff_len": 512,
        "use_cpu": True,
        "bf16": False,
        "memory_reserve_gb": 0,
        **changes,
    }
    return read_flat(flat, "test").config


_FIELDS = {"<image>": "pictures", "<video>": "videos", "<audio>": "sounds"}


def answer(config: Any, folder: Path, asked: str, *files: str) -> str:
    """What the trained model in `folder` says, greedily; `files` are of the kind that `asked` has
    placeholders of."""
    from engine.chat import Chatter
    from engine.runs.session import JobSession
    from engine.worker import ChatMessage

    whole = (folder / "config.json").is_file()
    settings = replace(
        config,
        do_train=False,
        model_name_or_path=str(folder) if whole else config.model_name_or_path,
        adapter_name_or_path=None if whole else str(folder),
        finetuning_type="lora",
        do_sample=False,
        max_new_tokens=16,
    )
    chatter = Chatter(settings, JobSession("test", None, lambda _: None))
    media = {field: files for placeholder, field in _FIELDS.items() if placeholder in asked}
    turns = [ChatMessage("user", asked, **media)]
    return chatter.answer(turns, None, settings, lambda _: None)["text"]


def whole_and_stopped(
    describe: Callable[..., Any], make_session: Any, folder: Path, changes: dict[str, Any]
) -> tuple[Losses, Losses]:
    """The losses of a run in `folder`/whole, and of the same one in `folder`/parts, stopped at its
    third look and gone on with."""
    session, whole = make_session(folder / "whole")
    run_training(describe(**changes), session)
    session, first = make_session(folder / "parts")
    with stopped_at(3):
        run_training(describe(**changes), session)
    (checkpoint,) = (folder / "parts").glob("checkpoint-*")
    assert (checkpoint / "processor_config.json").is_file()
    session, second = make_session(folder / "parts")
    run_training(describe(**changes, resume_from_checkpoint=True), session)

    def losses(*listeners: Any) -> Losses:
        found = [event for one in listeners for event in one.of(StepLogged)]
        return {event.step: (event.loss, event.grad_norm) for event in found}

    return losses(whole), losses(first, second)


def predicted(config: Any, make_session: Any, folder: Path, size: int) -> list[str]:
    """The answers to a set's rows, `size` rows at a time."""
    from engine.evaluation import run_prediction

    predict = replace(
        config, do_eval=False, do_predict=True, predict_with_generate=True, max_new_tokens=6,
        per_device_eval_batch_size=size, do_sample=False,
    )  # fmt: skip
    session, _ = make_session(folder)
    run_prediction(predict, session)
    lines = (folder / "generated_predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["predict"] for line in lines]


def train_and_merge(config: Any, make_session: Any, folder: Path) -> None:
    """Train in `folder`/run, and export the adapter merged to `folder`/whole."""
    from engine.export import run_export

    session, _ = make_session(folder / "run")
    run_training(config, session)
    export = replace(
        config,
        do_train=False,
        adapter_name_or_path=str(folder / "run"),
        export_dir=str(folder / "whole"),
    )
    session, _ = make_session(folder / "job")
    run_export(export, session)
