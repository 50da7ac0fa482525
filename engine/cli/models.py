"""`finetui models`: what can be picked as a model, and where it lies."""

from __future__ import annotations

from typing import Any

import typer

from engine.cli.output import output, visible
from engine.cli.words import amount, size

app = typer.Typer(
    help="Models that are on this machine.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def models(context: typer.Context) -> int:
    """List the demo, local folders, the hub's cache and names typed before."""
    if context.invoked_subcommand is None:
        return _list()
    return 0


def _list() -> int:
    from engine.worker.questions import known_models

    output().table(
        ("name", "from", "parameters", "on disk"),
        (
            (model.name, model.source, amount(model.parameters), "yes" if model.ready else "no")
            for model in known_models()
        ),
        right="parameters",
    )
    return 0


@app.command("path")
def path(name: str = typer.Argument(..., help="demo, a folder, or a hub id.")) -> int:
    """Print a model's folder, fetching it first where it is not on this disk."""
    from engine.models.locate import resolve

    out = output()
    out.divert()
    folder = resolve(name, progress=_Told().progress)
    out.say(str(folder.path.absolute()))
    return 0


@app.command("show")
def show(name: str = typer.Argument(..., help="demo, a folder, or a hub id.")) -> int:
    """Print a model's card: size, architecture, and its config's main fields explained."""
    from engine.worker.questions import model_card

    card: Any = model_card(name)
    out = output()
    facts = {
        "architecture": card.architecture,
        "parameters": f"{card.parameters:,}",
        "context": f"{card.context:,} tokens",
        "vocabulary": f"{card.vocab:,}",
        "layers": f"{card.layers} of width {card.hidden}",
        "heads": f"{card.heads}, {card.kv_heads} for keys and values",
        "stored as": card.dtype,
        "chat template": card.template,
        "on disk": size(card.size_bytes),
    }
    out.say(visible(card.name))
    for key, value in facts.items():
        out.say(f"  {key:<16}{visible(str(value))}")
    for note in card.fields:
        out.say(f"  {note.key} = {visible(str(note.value))}: {note.sentence}")
    return 0


class _Told:
    """Progress of a fetch on stderr: a line a new activity, and one every tenth of it."""

    def __init__(self) -> None:
        self._last: tuple[str, int] = ("", -1)

    def progress(self, activity: str, done: float, total: float, unit: str) -> None:
        tenth = int(10 * done / total) if total else 0
        if (activity, tenth) != self._last:
            self._last = (activity, tenth)
            share = f" {10 * tenth} %" if total else ""
            output().tell(f"{visible(activity)}{share}")
