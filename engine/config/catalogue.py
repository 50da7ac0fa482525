"""Every setting with what is known of it, and the form's sections, from the declarations."""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from engine.config.declare import Setting, setting_of
from engine.config.run_config import RunConfig

Kind = Literal["bool", "int", "float", "str", "choice", "dict"]

SECTIONS: tuple[str, ...] = (
    "Basics",
    "Batch",
    "Preference",
    "Reward",
    "PPO",
    "Groups (GRPO, RLOO)",
    "Distillation",
    "LoRA",
    "OFT",
    "Freeze",
    "Precision and memory",
    "Quantisation",
    "Saving and logging",
    "Optimiser",
    "Memory-saving optimisers",
    "Loss",
    "Data",
    "Thoughts and tools",
    "Pictures, video, sound",
    "LoRA variants",
    "Adapters, advanced",
    "Context and kernels",
    "New tokens",
    "Trackers",
    "Evaluation",
    "Generation",
    "Export",
    "Model",
    "Jobs",
)
# The sections that a form opens by itself; the others start folded.
OPEN_SECTIONS = frozenset(
    {
        "Basics",
        "Batch",
        "Preference",
        "Reward",
        "PPO",
        "Groups (GRPO, RLOO)",
        "Distillation",
        "LoRA",
        "OFT",
        "Freeze",
    }
)

_TYPE_TEXT: dict[str, str] = {
    "bool": "on or off",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "choice": "one of",
    "dict": "mapping",
}


@dataclass(frozen=True)
class SettingInfo:
    """One setting: its declaration and its type.

    `default` is that of published files. `kind` is the type a value has; `choices` are the values
    of kind choice; `optional` tells whether it may be empty (null). `bounds` are the lowest and
    highest value, None where there is none; `open_bounds` tells which of them are excluded.
    `type_text` says the type in words.
    """

    name: str
    setting: Setting
    default: Any
    kind: Kind
    optional: bool
    choices: tuple[str, ...]
    bounds: tuple[float | None, float | None]
    open_bounds: tuple[bool, bool]
    type_text: str


@dataclass(frozen=True)
class Section:
    """A section of the form: its name, the flat keys in it, whether it starts folded."""

    name: str
    rows: list[str]
    folded: bool


def _kind(annotation: Any) -> tuple[Kind, bool, tuple[str, ...]]:
    """A field's kind, whether it may be null, and its choices."""
    options = get_args(annotation) if _is_union(annotation) else (annotation,)
    optional = type(None) in options
    real = [option for option in options if option is not type(None)]
    for option in real:
        if get_origin(option) is Literal:
            return "choice", optional, tuple(str(value) for value in get_args(option))
    if str in real:
        return "str", optional, ()
    first = get_origin(real[0]) or real[0]
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", dict: "dict"}
    return kinds[first], optional, ()


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


@cache
def _settings() -> dict[str, SettingInfo]:
    found: dict[str, SettingInfo] = {}
    # Each group's annotations are read in its own module.
    types_of = {
        name: kind
        for base in reversed(RunConfig.__mro__[1:-1])
        for name, kind in get_type_hints(base).items()
    }
    for declared in fields(RunConfig):
        name = declared.name
        if name == "trainer_extra":
            continue
        kind, optional, choices = _kind(types_of[name])
        meta = setting_of(declared)
        found[name] = SettingInfo(
            name=name,
            setting=replace(meta, choices=choices) if choices else meta,
            default=_default(declared),
            kind=kind,
            optional=optional,
            choices=choices,
            bounds=(
                meta.ge if meta.gt is None else meta.gt,
                meta.le if meta.lt is None else meta.lt,
            ),
            open_bounds=(meta.gt is not None, meta.lt is not None),
            type_text=_type_text(kind, optional, choices),
        )
    return found


def _default(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return declared.default


def _type_text(kind: Kind, optional: bool, choices: tuple[str, ...]) -> str:
    text = _TYPE_TEXT[kind]
    if choices:
        text = f"{text} {', '.join(choices)}"
    return f"{text}, or empty" if optional else text


def settings() -> dict[str, SettingInfo]:
    """Every setting of RunConfig by its flat key, in the form's order."""
    return dict(_settings())


def applies(config: RunConfig, name: str) -> bool:
    """Whether the setting means anything for this run's stage, method and other settings."""
    test = _settings()[name].setting.applies
    return test is None or test(config)


def usual_of(config: RunConfig, name: str) -> str:
    """The usual values of a setting for the run's stage and method; empty where none are told."""
    meta = _settings()[name].setting
    by_method = meta.usual_for.get(config.finetuning_type, meta.usual)
    return meta.usual_for.get(config.stage, by_method)


def empty_means(config: RunConfig, name: str) -> str:
    """What an empty value of this setting comes to in this run; empty text where it is nothing."""
    if name == "lora_alpha":
        return str(config.alpha)
    if name == "eval_steps":
        return f"{config.logging_steps:g}"
    if name == "data_seed":
        return str(config.seed)
    if name == "metric_for_best_model" and config.stage in ("grpo", "rloo"):
        return "reward"
    if name == "kl_beta":
        return "0.05" if config.stage == "rloo" else "0"
    return _EMPTY_MEANS.get(name, "")


_EMPTY_MEANS = {
    "bf16": "by machine",
    "fp16": "by machine",
    "device": "by machine",
    "template": "the model's own",
    "dataset_dir": "./data or bundled",
    "cache_dir": "the hub's own",
    "output_dir": "saves/…",
    "max_samples": "all",
    "save_total_limit": "all",
    "neftune_noise_alpha": "off",
    "early_stopping_steps": "never",
    "metric_for_best_model": "loss",
    "ref_model": "as before training",
    "ld_alpha": "off",
    "reward_weights": "all alike",
    "packing": "by stage",
}


def sections(config: RunConfig, level: Literal["basic", "all"] = "basic") -> list[Section]:
    """The form: sections in order, each with the settings that apply to this run.

    `basic` holds the settings most runs touch, `all` every one that is not file-only.
    """
    rows: dict[str, list[str]] = {}
    for name, info in _settings().items():
        shown = info.setting.level == "basic" or (level == "all" and info.setting.level == "all")
        if shown and applies(config, name):
            rows.setdefault(info.setting.section, []).append(name)
    return [
        Section(name, rows[name], name not in OPEN_SECTIONS) for name in SECTIONS if name in rows
    ]
