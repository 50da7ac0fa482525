"""Hugging Face trainer keys that finetui has no opinion on: they go to the trainer unchanged."""

from __future__ import annotations

from typing import Any

# key → (types it may have: b bool, i int, f float, s str, l list, d dict, n null; its default in
# transformers 5.24). A test compares this list with the real TrainingArguments.
PASSED_ON: dict[str, tuple[str, Any]] = {
    "accelerator_config": ("dsn", None),
    "average_tokens_across_devices": ("b", True),
    "batch_eval_metrics": ("b", False),
    "dataloader_drop_last": ("b", False),
    "ddp_backend": ("sn", None),
    "ddp_broadcast_buffers": ("bn", None),
    "ddp_bucket_cap_mb": ("in", None),
    "ddp_find_unused_parameters": ("bn", None),
    "ddp_static_graph": ("bn", None),
    "ddp_timeout": ("i", 1800),
    "debug": ("sl", ""),
    "eval_accumulation_steps": ("in", None),
    "eval_delay": ("f", 0),
    "eval_do_concat_batches": ("b", True),
    "eval_use_gather_object": ("b", False),
    "full_determinism": ("b", False),
    "ignore_data_skip": ("b", False),
    "include_for_metrics": ("l", []),
    "log_level": ("s", "passive"),
    "log_level_replica": ("s", "warning"),
    "log_on_each_node": ("b", True),
    "logging_strategy": ("s", "steps"),
    "prediction_loss_only": ("b", False),
    "save_on_each_node": ("b", False),
    "skip_memory_metrics": ("b", True),
    "tf32": ("bn", None),
    "torch_compile": ("b", False),
    "torch_compile_backend": ("sn", None),
    "torch_compile_mode": ("sn", None),
    "torch_empty_cache_steps": ("in", None),
}

_NAMES = {
    "b": "true or false",
    "i": "a whole number",
    "f": "a number",
    "s": "a text",
    "l": "a list",
    "d": "a mapping",
    "n": "null",
}


def passed_value(key: str, value: Any) -> Any:
    """The value to pass on, lightly checked against the trainer's type.

    Raises ValueError whose message ends the sentence "it is …: ".
    """
    types, _ = PASSED_ON[key]
    if value is None:
        if "n" in types:
            return None
    elif isinstance(value, bool):
        if "b" in types:
            return value
        # YAML reads a bare `no` as false.
        if key == "logging_strategy" and not value:
            return "no"
    elif isinstance(value, (int, float, str)):
        number = _number(value) if ("i" in types or "f" in types) else None
        if number is not None and ("f" in types or number == int(number)):
            return number if "f" in types else int(number)
        if "b" in types and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if "s" in types:
            return str(value)
        if "l" in types and isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
    elif (isinstance(value, list) and "l" in types) or (isinstance(value, dict) and "d" in types):
        return value
    raise ValueError(f"expected {' or '.join(_NAMES[letter] for letter in types)}")


def _number(value: float | str) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return value if isinstance(value, (int, float)) else number
