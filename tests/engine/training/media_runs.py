"""What the tests of runs on rows with media share: a short run's settings, and its answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.config import read_flat


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
