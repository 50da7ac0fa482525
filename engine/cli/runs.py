"""`finetui runs`: every run under `saves/`; one of them in detail; going on with one."""

from __future__ import annotations

import difflib
from pathlib import Path

import typer

from engine.cli.help_pages import Commands
from engine.cli.output import output, visible
from engine.cli.words import ago, loss, rate, size
from engine.problem import BadInput, Problem
from engine.runs.history import RunSummary

app = typer.Typer(
    cls=Commands,
    help="The runs under saves/; without a command, a list of them.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
_GLYPHS = {"done": "✓", "stopped": "■", "failed": "✗", "running": "●", "interrupted": "!"}


@app.callback()
def runs(context: typer.Context) -> int:
    """List the runs, the newest first, with their state and last loss."""
    if context.invoked_subcommand is None:
        return listed()
    return 0


@app.command("list")
def listed() -> int:
    """List the runs, as `finetui runs` alone does."""
    from engine.runs.history import list_runs

    found = list_runs()
    if not found:
        output().say("No runs yet: `finetui train` puts them into saves/.")
        return 0
    output().table(
        ("", "run", "model", "method", "step", "loss", "when", "state"),
        (
            (
                _GLYPHS[run.state],
                run.name,
                run.model,
                run.method,
                f"{run.step:,}/{run.total_steps:,}" if run.total_steps else "–",
                loss(run.last_loss),
                ago(run.updated),
                run.state + (f": {run.last_note}" if run.last_note else ""),
            )
            for run in found
        ),
        right="step,loss,when",
    )
    return 0


@app.command("show")
def show(name: str = typer.Argument(..., help="A run's name or folder.")) -> int:
    """Print one run: its state, its curve and its checkpoints."""
    from engine.runs.checkpoints import list_checkpoints
    from engine.runs.curves import read_curves

    run = _run(name)
    out = output()
    curves = read_curves(run.path)
    out.say(f"{visible(run.name)}  {run.state}  {visible(run.last_note)}".rstrip())
    out.say(f"folder      {visible(str(run.path))}")
    out.say(f"model       {visible(run.model)}  {run.stage} {run.method}")
    out.say(f"step        {run.step:,} of {run.total_steps:,}")
    if run.best is not None:
        out.say(f"validation  {loss(run.best)} at best")
    for checkpoint in list_checkpoints(run.path):
        whole = "" if checkpoint.complete else "  incomplete, can't be resumed from"
        out.say(f"checkpoint  {checkpoint.step:,}  {size(checkpoint.size)}{whole}")
    if curves.steps:
        out.say()
        shown = range(0, len(curves.steps), max(1, len(curves.steps) // 20))
        chosen = sorted({*shown, len(curves.steps) - 1})
        out.table(
            ("step", "loss", "lr", "grad norm"),
            (
                (
                    f"{curves.steps[i]:,}",
                    loss(curves.losses[i]),
                    rate(curves.lrs[i]),
                    loss(curves.grad_norms[i]),
                )
                for i in chosen
            ),
            right="step,loss,lr,grad norm",
        )
    return 0


@app.command("resume")
def resume(
    name: str = typer.Argument(..., help="A run's name or folder."),
    start: int = typer.Option(
        -1, "--from", metavar="N", help="The step of a checkpoint; without it, the newest."
    ),
) -> int:
    """Go on with a run from one of its checkpoints, with its own settings."""
    from engine.cli.train import train

    run = _run(name)
    place = run.path if start < 0 else run.path / f"checkpoint-{start}"
    if not place.is_dir():
        steps = ", ".join(map(str, run.checkpoints)) or "none"
        raise BadInput(
            Problem(
                f"{run.name} has no checkpoint of step {start}.",
                where=str(run.path),
                hint=f"It has: {steps}.",
            )
        )
    return train(words=[], dry_run=False, resume=str(place))


def _run(name: str) -> RunSummary:
    from engine.runs.history import find_run, list_runs

    run = find_run(name)
    if run is None:
        known = [word for one in list_runs() for word in (one.name, str(one.path))]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else "`finetui runs` lists them."
        raise BadInput(
            Problem(f"There is no run {name}.", where=str(Path("saves").absolute()), hint=hint)
        )
    return run
