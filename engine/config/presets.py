"""Where the form starts from, and named sets of values for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from engine.config.catalogue import settings
from engine.config.run_config import RunConfig
from engine.config.stages import stage_dataset, stage_values


@dataclass(frozen=True)
class Preset:
    """Values that belong together: `label` in the list, `help` in one sentence."""

    name: str
    label: str
    help: str
    values: dict[str, Any]


# What the form calls the default: better starting points than those of published files.
FORM_BASE: dict[str, Any] = {
    "model_name_or_path": "demo",
    "do_train": True,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "per_device_eval_batch_size": 4,
    "logging_steps": 1.0,
    "save_steps": 50.0,
    "plot_loss": True,
    "do_sample": False,
    "max_new_tokens": 512,
}

_COMMON: dict[str, Any] = {
    "learning_rate": 1e-4,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "cutoff_len": 2048,
}
_ADAPTER: dict[str, Any] = {
    **_COMMON,
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_alpha": None,
    "lora_dropout": 0.0,
    "lora_target": "all",
}

presets: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "quick try",
            "Quick try",
            "A small set learned in minutes: LoRA rank 8 at a high rate, five epochs, short rows.",
            {**_ADAPTER, "learning_rate": 1e-3, "num_train_epochs": 5.0, "cutoff_len": 512},
        ),
        Preset(
            "careful",
            "Careful",
            "The usual LoRA run: a moderate rate, three epochs, a little dropout.",
            {**_ADAPTER, "lora_rank": 16, "lora_dropout": 0.05},
        ),
        Preset(
            "larger set",
            "Larger set",
            "Thousands of rows and more: a wider adapter on an effective batch of 32, two epochs.",
            {
                **_ADAPTER,
                "lora_rank": 32,
                "learning_rate": 2e-4,
                "num_train_epochs": 2.0,
                "gradient_accumulation_steps": 8,
                "warmup_ratio": 0.03,
            },
        ),
        Preset(
            "last blocks",
            "Last blocks",
            "Trains the last two blocks whole and leaves the rest as it is (freeze).",
            {
                **_COMMON,
                "finetuning_type": "freeze",
                "freeze_trainable_layers": 2,
                "freeze_trainable_modules": "all",
                "learning_rate": 5e-5,
            },
        ),
        Preset(
            "full fine-tuning",
            "Full fine-tuning",
            "Trains every weight at a low rate; needs memory for about 16 bytes a parameter.",
            {
                **_COMMON,
                "finetuning_type": "full",
                "learning_rate": 2e-5,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 8,
            },
        ),
    )
}


@cache
def form_base(stage: str = "sft", method: str = "lora") -> RunConfig:
    """The form of a stage before any preset: what its `●` compares with and "back to default"
    sets. `method` chooses among the stage's learning rates; the base's own method stays lora."""
    values = {**FORM_BASE, "stage": stage, "dataset": stage_dataset(stage)}
    return RunConfig(**{**values, **stage_values(stage, method)})


def defaults_for_form() -> RunConfig:
    """The form at the first start: the demo model, the identity set, the preset quick try."""
    return apply_preset(form_base(), "quick try")


def apply_stage(config: RunConfig, stage: str) -> RunConfig:
    """The run in another stage, with that stage's first values where nobody chose others.

    A value was not chosen while it stands at the base of the run's present stage, or at what the
    preset named in `preset` set it to. Everything else stays, the datasets too unless they are the
    present stage's bundled set. Going back to the first stage gives the same run again.
    """
    method = config.finetuning_type
    now, then = form_base(config.stage, method), form_base(stage, method)
    given: dict[str, Any] = {}
    gives: dict[str, Any] = {}
    if config.preset in presets:
        given = _preset_values(config.preset, config.stage, method)
        gives = _preset_values(config.preset, stage, method)
    moved: dict[str, Any] = {}
    for name in settings():
        value = getattr(config, name)
        if name in given and value == given[name]:
            moved[name] = gives[name]
        elif value == getattr(now, name):
            moved[name] = getattr(then, name)
    return replace(config, **moved)


def _preset_values(name: str, stage: str, method: str) -> dict[str, Any]:
    """A preset's values in a stage, whose own first values win: the presets' learning rates are
    those of supervised fine-tuning."""
    values = presets[name].values
    own = stage_values(stage, values.get("finetuning_type", method))
    return {key: own.get(key, value) for key, value in values.items()}


def apply_preset(config: RunConfig, name: str) -> RunConfig:
    """The run with the preset's values; everything else stays."""
    values = _preset_values(name, config.stage, config.finetuning_type)
    return replace(config, **values, preset=name)


def preset_changes(config: RunConfig, name: str) -> list[tuple[str, Any, Any]]:
    """What choosing the preset would change: (setting, value now, value then)."""
    values = _preset_values(name, config.stage, config.finetuning_type)
    return [
        (key, getattr(config, key), value)
        for key, value in values.items()
        if getattr(config, key) != value
    ]


def preset_of(config: RunConfig) -> str:
    """The preset whose values all stand; empty where none does."""
    return next((name for name in presets if not preset_changes(config, name)), "")


def changed(config: RunConfig) -> list[str]:
    """The settings that differ from the form's defaults for this stage, in the form's order.

    The model and the sets are chosen in panels of their own and don't count.
    """
    base = form_base(config.stage, config.finetuning_type)
    return [
        name
        for name, info in settings().items()
        if info.setting.level != "hidden"
        and name not in ("model_name_or_path", "dataset")
        and getattr(config, name) != getattr(base, name)
    ]
