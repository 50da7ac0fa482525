"""The learning rate over a run, by the formulas of transformers.optimization: no torch.

A test compares every scheduler with the real one, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.problem import Problem

# Options that a scheduler takes in lr_scheduler_kwargs (transformers 5.24, torch for the plateau).
OPTIONS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "constant": (),
    "constant_with_warmup": (),
    "inverse_sqrt": ("timescale",),
    "reduce_lr_on_plateau": (
        *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"),
    ),
    "cosine_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles", "warmup_lr_rate"),
    "warmup_stable_decay": (
        *("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type"),
        *("min_lr_ratio", "num_cycles"),
    ),
    "greedy": (
        *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup"),
        *("min_lr", "max_lr", "eps", "smooth", "window_size", "reset_start"),
    ),
}
WORDS: dict[str, tuple[str, ...]] = {
    "warmup_type": ("linear", "cosine", "1-sqrt"),
    "decay_type": ("linear", "cosine", "1-sqrt"),
    "mode": ("min", "max"),
    "threshold_mode": ("rel", "abs"),
}
# The trainer starts these without a number of warm-up steps.
WITHOUT_WARMUP = frozenset({"constant", "reduce_lr_on_plateau", "greedy"})


def warmup_steps(config: Any, total_steps: int) -> int:
    """Steps in which the rate climbs: a number of them, or a share of all (rounded up)."""
    if config.lr_scheduler_type in WITHOUT_WARMUP:
        return 0
    warmup = config.warmup
    return int(warmup) if warmup >= 1 else math.ceil(total_steps * warmup)


def learning_rate_at(config: Any, step: int, total_steps: int) -> float:
    """The learning rate of update `step` (from 0) in a run of `total_steps`.

    Schedulers that follow the validation loss (reduce_lr_on_plateau, greedy) stay at the start.
    The options must have passed the rules.
    """
    warmup = warmup_steps(config, total_steps)
    options = dict(config.lr_scheduler_kwargs or {})
    rate = float(config.learning_rate)
    share = _SHARES[config.lr_scheduler_type](step, warmup, total_steps, options, rate)
    return rate * float(share)


def curve(config: Any, total_steps: int, points: int) -> list[float]:
    """`points` learning rates, evenly spread from the first update to the last one."""
    last = max(total_steps - 1, 0)
    steps = [round(i * last / max(points - 1, 1)) for i in range(points)]
    return [learning_rate_at(config, step, max(total_steps, 1)) for step in steps]


def schedule_problems(config: Any, total_steps: int) -> list[Problem]:
    """What is odd about the schedule of a run of `total_steps`: it may run, but is seldom meant."""
    found: list[Problem] = []
    warmup = warmup_steps(config, total_steps)
    if warmup > total_steps:
        found.append(
            Problem(
                f"Warm-up takes {warmup} steps, but the run has {total_steps}: the learning rate "
                f"only reaches {learning_rate_at(config, total_steps - 1, total_steps):.2g}.",
                hint="Lower warmup_steps, or set warmup_ratio: 0.05.",
                setting="warmup_steps",
            )
        )
    falling = (config.lr_scheduler_kwargs or {}).get("num_decay_steps", 0)
    if config.lr_scheduler_type == "warmup_stable_decay" and warmup + falling > total_steps:
        found.append(
            Problem(
                f"num_decay_steps is {falling} after {warmup} of warm-up, but the run has "
                f"{total_steps} steps: the learning rate falls before it has stood.",
                hint=f"Set num_decay_steps to about {max(total_steps // 5, 1)}.",
                setting="lr_scheduler_kwargs",
            )
        )
    return found


def _climb(step: int, warmup: int) -> float:
    return step / max(1, warmup)


def _progress(step: int, warmup: int, total: int) -> float:
    return (step - warmup) / max(1, total - warmup)


def _linear(step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float) -> float:
    if step < warmup:
        return _climb(step, warmup)
    return max(0.0, (total - step) / max(1, total - warmup))


def _cosine(step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float) -> float:
    if step < warmup:
        return _climb(step, warmup)
    return max(0.0, _wave(_progress(step, warmup, total), options.get("num_cycles", 0.5)))


def _wave(progress: float, cycles: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * float(cycles) * 2 * progress))


def _restarts(step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float) -> float:
    if step < warmup:
        return _climb(step, warmup)
    progress = _progress(step, warmup, total)
    if progress >= 1:
        return 0.0
    return max(0.0, _wave((float(options.get("num_cycles", 1)) * progress) % 1.0, 0.5))


def _polynomial(
    step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float
) -> float:
    if step < warmup:
        return _climb(step, warmup)
    end = options.get("lr_end", 1e-7)
    if step > total:
        return float(end / rate)
    left = 1 - (step - warmup) / max(1, total - warmup)
    return float(((rate - end) * left ** options.get("power", 1.0) + end) / rate)


def _constant(step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float) -> float:
    return _climb(step, warmup) if step < warmup else 1.0


def _inverse_sqrt(
    step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float
) -> float:
    if step < warmup:
        return _climb(step, warmup)
    scale = options.get("timescale") or warmup or 10_000
    return 1 / math.sqrt((step + scale - warmup) / scale)


def _lowest(options: Mapping[str, Any], rate: float) -> float:
    least = options.get("min_lr")
    return float(least) / rate if least is not None else float(options.get("min_lr_rate", 0.0))


def _cosine_floor(
    step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float
) -> float:
    if step < warmup:
        return _climb(step, warmup)
    least = _lowest(options, rate)
    wave = _wave(_progress(step, warmup, total), options.get("num_cycles", 0.5))
    return max(0.0, wave * (1 - least) + least)


def _cosine_floor_and_start(
    step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float
) -> float:
    start = options.get("warmup_lr_rate")
    if step < warmup:
        if start is None:
            return (step + 1) / max(1, warmup)
        return float(start) + (1 - float(start)) * step / max(1, warmup - 1)
    least = _lowest(options, rate)
    progress = (step - warmup + 1) / max(1, total - warmup)
    return max(0.0, _wave(progress, options.get("num_cycles", 0.5)) * (1 - least) + least)


def _stable(step: int, warmup: int, total: int, options: Mapping[str, Any], rate: float) -> float:
    least = float(options.get("min_lr_ratio", 0))
    falling = int(options["num_decay_steps"])
    stable = options.get("num_stable_steps")
    stands = int(stable) if stable is not None else total - warmup - falling
    if step < warmup:
        up = _climb(step, warmup)
        shape = options.get("warmup_type", "linear")
        climbed = {
            "linear": up,
            "cosine": 0.5 * (1 - math.cos(math.pi * up)),
            "1-sqrt": 1 - math.sqrt(1 - up),
        }[shape]
        return max(0.0, climbed * (1 - least) + least)
    if step < warmup + stands:
        return 1.0
    if step < warmup + stands + falling:
        down = (step - warmup - stands) / max(1, falling)
        shape = options.get("decay_type", "cosine")
        fallen = {
            "linear": 1 - down,
            "cosine": _wave(down, options.get("num_cycles", 0.5)),
            "1-sqrt": 1 - math.sqrt(max(down, 0.0)),
        }[shape]
        return max(0.0, fallen * (1 - least) + least)
    return least


_SHARES: dict[str, Any] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "polynomial": _polynomial,
    "constant": _constant,
    "constant_with_warmup": _constant,
    "inverse_sqrt": _inverse_sqrt,
    "reduce_lr_on_plateau": _constant,
    "greedy": _constant,
    "cosine_with_min_lr": _cosine_floor,
    "cosine_warmup_with_min_lr": _cosine_floor_and_start,
    "warmup_stable_decay": _stable,
}
