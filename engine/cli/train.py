"""`finetui train`: one training run, headless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from engine.cli.output import output, visible

WORDS = typer.Argument(
    None,
    metavar="[FILE] [key=value …]",
    help="A flat YAML or JSON run description, then settings that win over it. Without a FILE, "
    "the run that the screen starts with.",
)


def train(
    words: list[str] = WORDS,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Read and check everything, print what would run, and stop."
    ),
    resume: str = typer.Option(
        "",
        "--resume",
        metavar="PATH",
        help="Go on from a run folder or one of its "
        "checkpoints; without a FILE, with that run's settings.",
    ),
) -> int:
    """Train a model as a file or key=value settings describe."""
    from engine.cli.read import check_inputs, checked, names_file, read_words
    from engine.worker import TrainJob

    if resume and not names_file(words):
        words = [str(_settings_of(Path(resume))), *(words or ())]
    config = replace(read_words(words), do_train=True)
    if resume:
        home = str(_run_of(Path(resume)))
        config = replace(config, resume_from_checkpoint=resume, output_dir=home)
    checked(config, "train")
    check_inputs(config, ",".join([*config.datasets, *config.eval_datasets]))
    if dry_run:
        from engine.cli.dry_run import describe

        describe(config)
        return 0
    from engine.cli.display import display_for
    from engine.cli.follow import follow

    out = output()
    out.divert()
    outcome = follow(TrainJob(config), display_for(out))
    if outcome.code == 0:
        _tell_result(outcome.result)
    return outcome.code


def _tell_result(result: dict[str, object]) -> None:
    for name, value in result.items():
        if value is None:
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else visible(str(value))
        output().say(f"{visible(name)}: {shown}")


def _run_of(path: Path) -> Path:
    from engine.runs.folder import resumed_folder

    return resumed_folder(path)


def _settings_of(path: Path) -> Path:
    """The settings that a run was started with. Raises BadInput where it kept none,
    or is not there."""
    from engine.problem import BadInput, Problem

    run = _run_of(path)
    if not run.is_dir():
        raise BadInput(
            Problem(
                "There is no such run to resume.",
                where=str(run),
                hint="`finetui runs` lists them.",
                setting="resume_from_checkpoint",
            )
        )
    file = run / "training_args.yaml"
    if not file.is_file():
        raise BadInput(
            Problem(
                "That run's settings are not there, so it can't be resumed by its folder alone.",
                where=str(file),
                hint="Name the FILE it was started with, and --resume.",
                setting="resume_from_checkpoint",
            )
        )
    return file
