"""What a run would do, from files and arithmetic alone: no torch, nothing written."""

from __future__ import annotations

from engine.cli.output import output, visible
from engine.cli.words import amount, size
from engine.config import RunConfig, format_value, settings, steps_of, to_flat
from engine.problem import BadInput, Problem

_SHOWN = 10  # unusable rows told one by one


def describe(config: RunConfig) -> None:
    """Print settings that differ from defaults, rows, steps, parameters, memory, the folder."""
    out = output()
    # What is wrong is told before anything is printed, alone.
    told = (*_rows(config), *_model(config), ("output folder", _folder(config)))
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
    if all(info.path is not None for info in infos):
        return _read_rows(config)
    # Sets that only the hub holds are counted when they are read.
    facts = data_facts(list_datasets(config.dataset_dir), config)
    return [("rows", f"{facts.rows:,} known, not yet: {', '.join(facts.missing)}")]


def _read_rows(config: RunConfig) -> list[tuple[str, str]]:
    """Every row is converted as for the run, so that what can't be used is told now."""
    from engine.datasets.preparation import select, split
    from engine.datasets.preparation_words import stop_at_bad

    chosen = select(config, config.datasets)
    stop_at_bad(config, chosen.dropped)
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
    steps = steps_of(rows, config)
    told = [
        ("rows", f"{rows:,}" + (f", {held:,} held out" if held else "")),
        (
            "steps",
            f"{steps.total:,} ({steps.per_epoch:,} an epoch, warm-up {steps.warmup:,}), "
            f"{steps.effective_batch} rows each",
        ),
    ]
    shown = [("unusable", str(problem)) for problem in chosen.dropped[:_SHOWN]]
    if len(chosen.dropped) > _SHOWN:
        shown.append(("", f"and {len(chosen.dropped) - _SHOWN:,} more"))
    return [*told, *shown]


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
    has = size(gpu or machine.ram_total)
    share = 100 * needs.trainable_parameters / max(needs.parameters, 1)
    return [
        ("model", f"{card.name}, {card.architecture}, {amount(card.parameters)} parameters"),
        (
            "trainable parameters",
            f"{needs.trainable_parameters:,} of {needs.parameters:,} ({share:.2f} %)",
        ),
        (
            "memory",
            f"about {size(needs.total)} of {has}: weights {size(needs.weights)}, gradients "
            f"{size(needs.gradients)}, optimiser {size(needs.optimiser)}, activations "
            f"{size(needs.activations + needs.logits)}. {needs.assumption}",
        ),
        *(
            ("to fit", f"{one.change}: {size(one.forecast.total)}. {one.cost}")
            for one in (advice(card, config, rows) if not needs.fits else ())
        ),
    ]


def _folder(config: RunConfig) -> str:
    from engine.runs.folder import planned_folder, refuse_earlier_run, resumed_folder

    resume = config.resume_from_checkpoint
    from pathlib import Path

    if config.output_dir:
        folder = Path(config.output_dir).expanduser()
        refuse_earlier_run(config, folder)
        return str(folder)
    if isinstance(resume, str) and resume:
        return str(resumed_folder(Path(resume)))
    return str(planned_folder(config))
