"""What the form tells beside a setting of this model on this machine: costs, reasons, a curve.

All of it is arithmetic, or a look at what is installed: no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.config import RunConfig
from engine.problem import BadInput
from engine.worker.questions import this_machine

if TYPE_CHECKING:
    from engine.models import ModelCard
    from engine.models.precision import Precision

_QUANTISATION = (
    "quantization_bit",
    "quantization_method",
    "quantization_type",
    "double_quantization",
)
_SCHEDULE = (
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "learning_rate",
    "warmup_steps",
    "warmup_ratio",
)
# Settings that choose an optimiser family, by the name its needs are kept under.
_FAMILIES = ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon")

# Headings, for the screen's catalogue.
WEIGHTS_OF_THIS_MODEL = "Weights of this model"
NOT_ON_THIS_MACHINE = "Not on this machine"
ON_THIS_MACHINE = "On this machine"
UNPACKED = "Steps are slower: the linear layers are unpacked each time."
MESSAGES = (WEIGHTS_OF_THIS_MODEL, NOT_ON_THIS_MACHINE, ON_THIS_MACHINE, UNPACKED)


@dataclass(frozen=True)
class FormNote:
    """A heading and rows below it: (text, figure, whether it is what the form says now)."""

    heading: str
    rows: tuple[tuple[str, str, bool], ...]


def form_notes(key: str, config: RunConfig, card: ModelCard | None) -> tuple[FormNote, ...]:
    """What there is to tell about the setting `key`; empty where its help says it all."""
    if key in _QUANTISATION and card is not None:
        return (_weights(config, card),)
    if key == "optim":
        return _missing_optimisers(config)
    if key in _FAMILIES:
        return _lacking(key)
    if key == "flash_attn":
        return (_attention(config, card),)
    return ()


def rate_curve(
    key: str, config: RunConfig, rows: int | None, points: int
) -> tuple[tuple[float, ...], int]:
    """The learning rate over the run for a setting that shapes it, and the run's steps.

    Without rows (none are known yet) the run counts as 100 steps. Empty for another setting.
    """
    from engine.config import check, steps_of
    from engine.config.schedule import curve

    if key not in _SCHEDULE or any(one.setting in _SCHEDULE for one in check(config)):
        return (), 0
    steps = steps_of(rows, config).total if rows else 100
    return tuple(curve(config, steps, points)), steps


def _weights(config: RunConfig, card: ModelCard) -> FormNote:
    from engine.models.quantised_size import quantisation_effect

    precision = _precision(config)
    rows = []
    for effect in quantisation_effect(card, config, precision):
        now = effect.bits == config.quantization_bit and (
            effect.bits is None
            or effect.kind == config.quantization_type
            or (effect.method == config.quantization_method and effect.kind in ("hqq", "int8"))
        )
        rows.append((effect.name, f"{effect.bytes / 1e6:,.0f} MB", now or bool(card.quantised)))
    if card.quantised or config.quantization_bit is not None:
        rows.append((UNPACKED, "", False))
    return FormNote(WEIGHTS_OF_THIS_MODEL, tuple(rows))


def _missing_optimisers(config: RunConfig) -> tuple[FormNote, ...]:
    from engine.config.optimiser_runs import NEEDS, optimiser_state

    machine = this_machine()
    found = []
    for name in NEEDS:
        runs, why = optimiser_state(name, machine)
        if not runs:
            found.append((why, "", name == config.optim))
    return (FormNote(NOT_ON_THIS_MACHINE, tuple(found)),) if found else ()


def _lacking(key: str) -> tuple[FormNote, ...]:
    from engine.config.optimiser_runs import optimiser_state

    runs, why = optimiser_state(key, this_machine())
    return () if runs else (FormNote(NOT_ON_THIS_MACHINE, ((why, "", False),)),)


def _attention(config: RunConfig, card: ModelCard | None) -> FormNote:
    from engine.models.attention_choice import attention_choice

    try:
        width = card.head_dim if card is not None else None
        told = attention_choice(config, this_machine(), head_dim=width).line
    except BadInput as error:
        return FormNote(NOT_ON_THIS_MACHINE, ((error.problem.what, "", False),))
    return FormNote(ON_THIS_MACHINE, ((told, "", False),))


def _precision(config: RunConfig) -> Precision:
    from engine.models.device import expected_device
    from engine.models.precision import expected_precision

    machine = this_machine()
    return expected_precision(config, machine, expected_device(config, machine))
