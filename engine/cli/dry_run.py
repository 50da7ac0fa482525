"""What a run would do, from files and arithmetic alone: no torch, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.output import output, visible
from engine.cli.words import amount, memory
from engine.config import RunConfig, applies, format_value, settings, steps_of, to_flat
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets import Encoder

_SHOWN = 10  # unusable rows told one by one


def describe(config: RunConfig) -> None:
    """Print settings that differ from defaults, rows, steps, parameters, memory, the folder."""
    out = output()
    # What is wrong is told before anything is printed, alone.
    told = (
        *_rows(config),
        *_model(config),
        *_models_beside(config),
        ("output folder", _folder(config)),
    )
    out.say("settings that differ from their defaults")
    known = settings()
    flat = to_flat(config, only_changed=True)
    width = max(map(len, flat), default=0)
    for name, value in flat.items():
        shown = format_value(name, value) if name in known else str(value)
        out.say(f"  {name:<{width}}  {visible(shown)}")
    out.say()
    for name, value in told:
        out.say(f"{name:<22}{visible(value)}")


def _rows(config: RunConfig) -> list[tuple[str, str]]:
    from engine.datasets import find_dataset, list_datasets
    from engine.worker.questions import data_facts

    infos = [find_dataset(name, config.dataset_dir) for name in config.datasets]
    facts = data_facts(list_datasets(config.dataset_dir), config)
    if config.streaming:
        # Read as the run goes on: nothing is counted before.
        whole = f"{facts.rows:,} known" if facts.rows else "as they come"
        return [("rows", f"streamed, {whole}"), _steps(1, config), *_first_packed(config)]
    if all(info.path is not None for info in infos):
        return _read_rows(config)
    # Sets that only the hub holds are counted when they are read.
    return [("rows", f"{facts.rows:,} known, not yet: {', '.join(facts.missing)}")]


def _read_rows(config: RunConfig) -> list[tuple[str, str]]:
    """Every row is converted as for the run, so that what can't be used is told now."""
    from engine.datasets.preparation import select, split
    from engine.datasets.preparation_words import check_reads, stop_at_bad

    chosen = select(config, config.datasets)
    stop_at_bad(config, chosen.dropped)
    if any(example.media for _name, example in chosen.examples):
        encoder = _encoder(config)
        if encoder is not None:
            check_reads(encoder, config.stage, chosen.examples)
    rows = len(chosen.examples)
    if not rows:
        first = chosen.dropped[0] if chosen.dropped else "the sets are empty"
        raise BadInput(
            Problem(
                "No row can be used.",
                where=str(first),
                hint="Look at the set: finetui datasets show NAME.",
                setting="dataset",
            )
        )
    held = 0
    if config.val_size:
        train, validation = split(rows, config.val_size, config.seed)
        rows, held = len(train), len(validation)
    told = [("rows", f"{rows:,}" + (f", {held:,} held out" if held else ""))]
    packed = _packed(config)
    if packed is None:
        told.append(_steps(rows, config))
    else:
        count, line = packed
        told += [("packing", line), _steps(count or rows, config)]
    shown = [("unusable", str(problem)) for problem in chosen.dropped[:_SHOWN]]
    if len(chosen.dropped) > _SHOWN:
        shown.append(("", f"and {len(chosen.dropped) - _SHOWN:,} more"))
    return [*told, *shown]


def _steps(rows: int, config: RunConfig) -> tuple[str, str]:
    steps = steps_of(rows, config)
    # How many make a pass over a stream is not known.
    each = "" if config.streaming else f"{steps.per_epoch:,} an epoch, "
    return (
        "steps",
        f"{steps.total:,} ({each}warm-up {steps.warmup:,}), {steps.effective_batch} rows each",
    )


def _packed(config: RunConfig) -> tuple[int, str] | None:
    """How many rows packing makes of those trained on, and what to say of it; 0 rows where no
    tokenizer is there to tell. None where nothing is packed."""
    from engine.datasets.packing import PackedRows, filled, filling, packs, packs_whole
    from engine.datasets.preparation import prepare

    if not packs(config) and not packs_whole(config):
        return None
    encoder = _encoder(config)
    if encoder is None:
        return 0, "known once the model's tokenizer is here; the steps below are before packing"
    rows = prepare(config, encoder, keep=False).train
    count, length = len(rows), config.cutoff_len
    if isinstance(rows, PackedRows):
        return count, filling(rows, length).removeprefix("packing: ").rstrip(".")
    return count, f"{filled(rows.tokens, count, length)} of {length:,} × {count:,} positions filled"


def _first_packed(config: RunConfig) -> list[tuple[str, str]]:
    """How the first rows of streamed sets pack, where they do and are here."""
    from engine.datasets.packing_outlook import packing_outlook

    encoder = _encoder(config)
    outlook = packing_outlook(config, encoder) if encoder is not None else None
    if outlook is None:
        return []
    share = f"{outlook.filled:.0%}".replace("%", " %")
    line = (
        f"the first {outlook.rows:,} rows fill {outlook.packed:,} of {config.cutoff_len:,} tokens"
    )
    return [("packing", f"{line} by {share}: {outlook.each:.1f} in each")]


def _encoder(config: RunConfig) -> Encoder | None:
    """What turns rows into tokens; None where the model is not on this disk."""
    from engine import models
    from engine.datasets import Encoder

    name = config.model_name_or_path or ""
    if not name or (name == "demo" and not models.demo_ready()):
        return None
    try:
        return Encoder(models.resolve(name).path, config)
    except BadInput:
        return None  # the line of the model says why


def _model(config: RunConfig) -> list[tuple[str, str]]:
    from engine.telemetry import read_machine
    from engine.worker.fitting import advice, forecast, row_facts
    from engine.worker.questions import model_card

    try:
        card = model_card(config.model_name_or_path or "")
    except BadInput as error:
        return [("model", f"{config.model_name_or_path}: {error.problem.what}")]
    rows = row_facts(config)
    needs = forecast(card, config, rows)
    machine = read_machine()
    gpu = machine.gpus[0].total if machine.gpus and not config.use_cpu else None
    has = memory(gpu or machine.ram_total)
    share = 100 * needs.trainable_parameters / max(needs.parameters, 1)
    return [
        ("model", f"{card.name}, {card.architecture}, {amount(card.parameters)} parameters"),
        (
            "trainable parameters",
            f"{needs.trainable_parameters:,} of {needs.parameters:,} ({share:.2f} %)",
        ),
        (
            "memory",
            f"about {memory(needs.total)} of {has}: weights {memory(needs.weights)}, gradients "
            f"{memory(needs.gradients)}, optimiser {memory(needs.optimiser)}, activations "
            f"{memory(needs.activations + needs.logits)}, libraries and gaps "
            f"{memory(needs.runtime + needs.holes)}. {needs.assumption}",
        ),
        *(
            ("to fit", f"{one.change}: {memory(one.forecast.total)}. {one.cost}")
            for one in (advice(card, config, rows) if not needs.fits else ())
        ),
    ]


# Settings that name a model beside the trained one, and what it is to the run.
_BESIDE = {"ref_model": "reference", "teacher_model": "teacher", "reward_model": "reward model"}


def _models_beside(config: RunConfig) -> list[tuple[str, str]]:
    """The models that the run reads beside its own. Raises BadInput for a folder that is none."""
    told = []
    for setting, title in _BESIDE.items():
        name = (getattr(config, setting) or "").strip()
        if name and applies(config, setting):
            told.append((title, _model_beside(config, setting, name)))
    return told


def _model_beside(config: RunConfig, setting: str, name: str) -> str:
    from engine import models
    from engine.models.locate import names_folder
    from engine.training.second_model import blamed_on

    folder = Path(name).expanduser()
    kind = config.reward_model_type if setting == "reward_model" else "full"
    if kind == "api" or (kind == "lora" and folder.is_dir()):
        return name
    with blamed_on(setting):
        if kind == "lora":
            models.check_adapter(folder)
        try:
            return models.resolve(name).name
        except BadInput as error:
            if names_folder(name):
                raise
            return f"{name}: {error.problem.what}"  # a hub's: fetched when the run begins


def _folder(config: RunConfig) -> str:
    from engine.runs.folder import planned_folder, refuse_earlier_run, resumed_folder
    from engine.training.resume import find_resume

    resume = config.resume_from_checkpoint
    if config.output_dir:
        folder = Path(config.output_dir).expanduser()
        refuse_earlier_run(config, folder)
    elif isinstance(resume, str) and resume:
        folder = resumed_folder(Path(resume))
    else:
        folder = planned_folder(config)
    going_on = find_resume(resume, folder)
    return str(folder) if going_on is None else f"{folder}, from step {going_on.step:,} on"
