"""A tiny random Llama with a byte-level ChatML tokenizer, an adapter for it, and a listener."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def make_config(model_folder: Path) -> Callable[..., Any]:
    def make(**changes: Any) -> Any:
        from engine.config import read_flat

        flat = {
            "model_name_or_path": str(model_folder),
            "finetuning_type": "lora",
            "use_cpu": True,
            "infer_dtype": "float32",
            "do_sample": False,
            "max_new_tokens": 40,
            **changes,
        }
        return read_flat(flat, "test").config

    return make


class Listener:
    """A session's listener; `on` may react to an event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.on: Callable[[Any], None] | None = None

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if self.on is not None:
            self.on(event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture
def make_session() -> Callable[[], tuple[Any, Listener]]:
    def make() -> tuple[Any, Listener]:
        from engine.runs.session import JobSession

        listener = Listener()
        return JobSession("test", None, listener), listener

    return make
