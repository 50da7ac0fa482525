"""A model's name turned into files, numbers in words, and a loaded model; memory forecast."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.models.card import ModelCard, demo_card, read_card
    from engine.models.demo import demo_folder, demo_ready, fetch_demo
    from engine.models.device import choose_device
    from engine.models.explain import FieldNote
    from engine.models.folder import adapter_base, check_adapter, check_folder
    from engine.models.load import (
        adapter_folders,
        attach_adapters,
        load_model,
        load_tokenizer,
        load_with_adapter,
    )
    from engine.models.locate import ModelEntry, ModelFolder, known_models, remember, resolve
    from engine.models.memory import Forecast, checkpoint_bytes, disk_bytes, forecast
    from engine.models.memory_advice import Advice
    from engine.models.precision import Precision, choose_precision
    from engine.models.rows import RowFacts, facts_of_rows
    from engine.models.threads import Threads, choose_threads, lower_priority, prepare_threads
    from engine.models.trainable import trainable_parameters

# The screen's first frame needs a model's card, not what loads and places the model.
_HOMES = {
    "Advice": "memory_advice",
    "FieldNote": "explain",
    "Forecast": "memory",
    "ModelCard": "card",
    "ModelEntry": "locate",
    "ModelFolder": "locate",
    "Precision": "precision",
    "RowFacts": "rows",
    "Threads": "threads",
    "adapter_base": "folder",
    "adapter_folders": "load",
    "attach_adapters": "load",
    "check_adapter": "folder",
    "check_folder": "folder",
    "checkpoint_bytes": "memory",
    "choose_device": "device",
    "choose_precision": "precision",
    "choose_threads": "threads",
    "demo_card": "card",
    "demo_folder": "demo",
    "demo_ready": "demo",
    "disk_bytes": "memory",
    "facts_of_rows": "rows",
    "fetch_demo": "demo",
    "forecast": "memory",
    "known_models": "locate",
    "load_model": "load",
    "load_tokenizer": "load",
    "load_with_adapter": "load",
    "lower_priority": "threads",
    "prepare_threads": "threads",
    "read_card": "card",
    "remember": "locate",
    "resolve": "locate",
    "trainable_parameters": "trainable",
}

__all__ = [
    "Advice",
    "FieldNote",
    "Forecast",
    "ModelCard",
    "ModelEntry",
    "ModelFolder",
    "Precision",
    "RowFacts",
    "Threads",
    "adapter_base",
    "adapter_folders",
    "attach_adapters",
    "check_adapter",
    "check_folder",
    "checkpoint_bytes",
    "choose_device",
    "choose_precision",
    "choose_threads",
    "demo_card",
    "demo_folder",
    "demo_ready",
    "disk_bytes",
    "facts_of_rows",
    "fetch_demo",
    "forecast",
    "known_models",
    "load_model",
    "load_tokenizer",
    "load_with_adapter",
    "lower_priority",
    "prepare_threads",
    "read_card",
    "remember",
    "resolve",
    "trainable_parameters",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
