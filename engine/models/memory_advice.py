"""What would make a run fit into its machine: changes of settings, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from engine.config import RunConfig, check
from engine.models.card import ModelCard
from engine.models.memory import Forecast, forecast, usable_memory
from engine.models.rows import RowFacts
from engine.telemetry import Machine

_BITSANDBYTES = "bitsandbytes"
# Rows are not cut below this for the sake of memory.
_SHORTEST = 256


@dataclass(frozen=True)
class Advice:
    """One way to make a run fit.

    `change` says it in a few words, `cost` what it costs in a sentence. `settings` are the values
    to set, `forecast` is the one after that.
    """

    change: str
    cost: str
    settings: Mapping[str, Any]
    forecast: Forecast


@dataclass(frozen=True)
class _Step:
    change: str
    cost: str
    settings: dict[str, Any]


def memory_advice(
    card: ModelCard,
    config: RunConfig,
    machine: Machine,
    rows: RowFacts | int | None = None,
) -> tuple[Advice, ...]:
    """The changes that would make `config` fit into `machine`, ranked by what they cost.

    Empty where it fits already, or where no change does. Each alone first, in the order of their
    costs: a smaller micro-batch with as much more accumulation (the same update, some time),
    gradient checkpointing (a third more time), an optimiser with a smaller state, weights in bf16,
    shorter rows, LoRA in place of full, four bits. Where none is enough alone, the fewest of them
    together. Nothing is proposed that the rules between settings refuse.
    """
    usable = usable_memory(config, machine)
    if usable is None or forecast(card, config, rows, machine).total <= usable:
        return ()
    broken = {problem.what for problem in check(config)}

    def tried(step: _Step) -> Advice | None:
        changed = replace(config, **step.settings)
        if any(problem.what not in broken for problem in check(changed)):
            return None
        told = forecast(card, changed, rows, machine)
        if told.total > usable:
            return None
        return Advice(step.change, step.cost, step.settings, told)

    steps = list(_steps(card, config, rows))
    found = [advice for step in steps if (advice := tried(step)) is not None]
    if found:
        return _best_of_each(found)
    together = _Step("", "", {})
    for step in steps:
        if step.settings.keys() & together.settings.keys() - {"per_device_train_batch_size"}:
            if not step.settings.keys() <= together.settings.keys():
                continue
            together = _Step(step.change, step.cost, {**together.settings, **step.settings})
        else:
            words = [together.change, step.change] if together.change else [step.change]
            costs = [together.cost, step.cost] if together.cost else [step.cost]
            together = _Step(
                " + ".join(words), " ".join(costs), {**together.settings, **step.settings}
            )
        advice = tried(together)
        if advice is not None:
            return (advice,)
    return ()


def _best_of_each(found: list[Advice]) -> tuple[Advice, ...]:
    """Of several sizes of one change, the first: it changes least."""
    kept: dict[frozenset[str], Advice] = {}
    for advice in found:
        kept.setdefault(frozenset(advice.settings), advice)
    return tuple(kept.values())


def smaller_batches(config: RunConfig) -> Iterator[tuple[int, int]]:
    """Micro-batches smaller than now with as much more accumulation, the largest first: the rows
    of an update stay the same."""
    batch, pile = config.per_device_train_batch_size, config.gradient_accumulation_steps
    for smaller in range(batch // 2, 0, -1):
        if batch % smaller == 0:
            yield smaller, pile * (batch // smaller)


def _steps(card: ModelCard, config: RunConfig, rows: RowFacts | int | None) -> Iterator[_Step]:
    for batch, pile in smaller_batches(config):
        yield _Step(
            f"micro-batch {batch} × {pile}",
            "The same update from the same rows; a step takes a little longer.",
            {"per_device_train_batch_size": batch, "gradient_accumulation_steps": pile},
        )
    if config.disable_gradient_checkpointing:
        yield _Step(
            "gradient checkpointing",
            "The same result; a step takes about a third longer.",
            {"disable_gradient_checkpointing": False},
        )
    if config.finetuning_type != "lora" and config.optim in ("adamw_torch", "adamw_torch_fused"):
        if find_spec(_BITSANDBYTES) is not None:
            yield _Step(
                "an 8-bit optimiser",
                "The optimiser's state is rounded to 8 bits.",
                {"optim": "adamw_bnb_8bit"},
            )
        yield _Step(
            "Adafactor",
            "The optimiser keeps a number a row and a column; learns a little differently.",
            {"optim": "adafactor"},
        )
    if config.finetuning_type == "full" and not config.pure_bf16:
        yield _Step(
            "weights and optimiser in bf16",
            "Small updates may be lost in rounding.",
            {"pure_bf16": True, "bf16": None, "fp16": None},
        )
    yield from _shorter(config, rows)
    if config.finetuning_type != "lora":
        yield _Step(
            "LoRA",
            "Only a small adapter is trained; take a higher learning rate.",
            {"finetuning_type": "lora", "pure_bf16": False},
        )
    if config.quantization_bit is None and not card.quantised and find_spec(_BITSANDBYTES):
        yield _Step(
            "LoRA on 4 bits" if config.finetuning_type != "lora" else "4 bits",
            "The frozen weights are rounded to 4 bits; steps are slower.",
            {
                "finetuning_type": "lora",
                "pure_bf16": False,
                "quantization_bit": 4,
                "quantization_method": "bnb",
            },
        )


def _shorter(config: RunConfig, rows: RowFacts | int | None) -> Iterator[_Step]:
    longest = rows if isinstance(rows, int) else rows.longest if rows is not None else None
    length = min(config.cutoff_len, longest or config.cutoff_len)
    for share in (0.75, 0.5, 0.25):
        shorter = int(length * share) // 64 * 64
        if shorter >= _SHORTEST:
            yield _Step(
                f"cutoff {shorter:,}",
                "Longer rows are cut.",
                {"cutoff_len": shorter},
            )
