"""From the words of a command line to a checked run description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.cli.output import output, visible
from engine.config import (
    Read,
    RunConfig,
    apply_stage,
    check,
    defaults_for_form,
    parse_overrides,
    read_file,
    read_flat,
    settings,
    split_names,
    to_flat,
)
from engine.problem import BadInput, BadSettings, Problem


def read_words(words: Sequence[str] | None) -> RunConfig:
    """The run of `[FILE] key=value …`; without a FILE, the screen's first form for the stage that
    is named, with those changes.

    Notes (translated keys and the like) go to stderr. Raises BadSettings with every problem.
    """
    words = list(words or ())
    read: Read
    if names_file(words):
        read = read_file(Path(words[0]).expanduser(), words[1:])
    else:
        form = defaults_for_form()
        stage = parse_overrides(words).get("stage")
        if stage in settings()["stage"].choices:
            form = apply_stage(form, str(stage))
        read = read_flat(to_flat(form, only_changed=True), "quick try", words)
        # The form's own values need no comment, only what was typed.
        typed = tuple(word.partition("=")[0] for word in words)
        read = Read(read.config, tuple(n for n in read.notes if n.split(" ")[0] in typed))
    for note in read.notes:
        output().tell(f"note: {visible(note)}")
    return read.config


def names_file(words: Sequence[str] | None) -> bool:
    """Whether a command line begins with a FILE and not with a setting."""
    return words is not None and any("=" not in word or Path(word).is_file() for word in words[:1])


def checked(config: RunConfig, job: str) -> RunConfig:
    """The config again, if it breaks no rule. Raises BadSettings."""
    problems = check(config, job)
    if problems:
        raise BadSettings(problems)
    return config


def check_inputs(config: RunConfig, data: str | None = None) -> None:
    """Look for what the run names on this disk, before any library is loaded.

    `data` is a comma list of datasets. Raises BadInput for a model folder without weights, an
    adapter or a dataset that isn't there. What a hub would have to be asked for is left to the job.
    """
    from engine.datasets import find_dataset, fits
    from engine.models.folder import check_adapter
    from engine.models.locate import resolve

    name = config.model_name_or_path or ""
    if Path(name).expanduser().exists() or name.startswith((".", "/", "~")):
        resolve(name, config)
    for adapter in config.adapters:
        check_adapter(Path(adapter).expanduser())
    for dataset in split_names(data):
        info = find_dataset(dataset, config.dataset_dir)
        reason = fits(info, config.stage)
        if reason:
            raise BadInput(
                Problem(
                    f"The dataset {dataset} does not suit the stage {config.stage}: {reason}.",
                    where=dataset,
                    hint="`finetui datasets` lists what suits which stage.",
                    setting="dataset",
                )
            )
