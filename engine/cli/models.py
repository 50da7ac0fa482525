"""`finetui models`: what can be picked as a model, where it lies, and what it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.cli.help_pages import Commands
from engine.cli.output import output, visible
from engine.cli.words import amount, size

app = typer.Typer(
    cls=Commands,
    help="Models by name, downloads, cards; without a command, those on this machine.",
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


@app.command("list")
def listed(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only models that hold all these words.")
    ] = None,
    hub: str = typer.Option("huggingface", help="huggingface or modelscope: whose ids to show."),
) -> int:
    """List the field's models by name, those on this machine first."""
    from engine.worker.catalogue import matching, pickables

    found = matching(pickables(_hub(hub)), " ".join(words or ()))
    if not found:
        output().tell("No model holds these words.")
        return 1
    output().table(
        ("name", "id", "size", "kind", "takes", "template", "on disk"),
        (
            (
                line.name,
                line.id,
                line.size,
                "thinks" if line.thinking else line.kind,
                ",".join(line.media),
                line.template,
                "yes" if line.ready else "no",
            )
            for line in found
        ),
        right="size",
    )
    return 0


@app.command("get")
def get(
    name: str = typer.Argument(..., help="A name of `finetui models list`, or a hub id."),
    hub: str = typer.Option("huggingface", help="huggingface or modelscope."),
    revision: str = typer.Option("main", help="Branch, tag or commit."),
    cache_dir: str = typer.Option("", help="Where to put it; empty means the hub's own cache."),
    trust_remote_code: bool = typer.Option(
        False, "--trust-remote-code", help="Fetch a model whose own Python code you have read."
    ),
) -> int:
    """Download a model, going on from what came before; print its folder."""
    from engine.config import read_flat
    from engine.models.locate import resolve
    from engine.models.places import place_of

    out = output()
    out.divert()
    wanted = _id(name, _hub(hub))
    given = {
        "model_name_or_path": wanted,
        "hub": _hub(hub),
        "model_revision": revision,
        "cache_dir": cache_dir or None,
        "trust_remote_code": trust_remote_code,
    }
    config = read_flat(given, "the command line").config
    folder = resolve(wanted, config, progress=_Told().progress)
    place = place_of(wanted)
    if place is not None and place.licence:
        out.tell(f"licence: {visible(place.licence)}")
    out.say(str(folder.path.absolute()))
    return 0


@app.command("place")
def place(
    name: str = typer.Argument(..., help="A name of `finetui models list`, or a hub id."),
    folder: str = typer.Argument("", help="Where the model lies; empty forgets it."),
) -> int:
    """Remember in which folder a model lies, so that it is found by its name."""
    from pathlib import Path

    from engine.models.folder import check_folder
    from engine.models.places import Place, forget_place, remember_place

    wanted = _id(name, "huggingface")
    if not folder:
        forget_place(wanted)
        return 0
    path = Path(folder).expanduser().absolute()
    check_folder(path)
    remember_place(wanted, Place(str(path)))
    output().say(f"{wanted} is {path}")
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
def show(
    name: str = typer.Argument(..., help="demo, a folder, a hub id, or a name of the list."),
    config: bool = typer.Option(False, "--config", help="Explain every field of its config.json."),
) -> int:
    """Print a model's card: what the field's catalogue and its own files say."""
    from engine.problem import BadInput
    from engine.worker.catalogue import pickable, template_note
    from engine.worker.questions import model_card

    out = output()
    wanted = _id(name, "huggingface")
    known = pickable(wanted)
    try:
        card: Any = model_card(wanted)
    except BadInput:
        if known is None:
            raise
        card = None
    facts: dict[str, str] = {}
    if known is not None:
        facts |= {
            "family": known.family,
            "kind": known.kind + (", thinks" if known.thinking else ""),
            "takes": ", ".join(("text", *known.media)),
            "template": known.template or "none is published",
            "ids": ", ".join(dict.fromkeys(filter(None, (known.id, known.other_id)))),
            "read in": known.source,
        }
    if card is not None:
        facts |= {
            "architecture": card.architecture,
            "parameters": f"{card.parameters:,}",
            "context": f"{card.context:,} tokens",
            "vocabulary": f"{card.vocab:,}",
            "layers": f"{card.layers} of width {card.hidden}",
            "heads": f"{card.heads}, {card.kv_heads} for keys and values",
            "stored as": card.dtype,
            "chat template": card.template,
            "on disk": size(card.size_bytes),
            "licence": card.licence or "its files don't say",
        }
    elif known is not None:
        facts |= {"size": known.size or "not known", "on disk": "no (finetui models get)"}
    out.say(visible(card.name if card is not None else wanted))
    for key, value in facts.items():
        out.say(f"  {key:<16}{visible(str(value))}")
    note = template_note(wanted)
    if note:
        out.say(f"  {'note':<16}{note}")
    if config and card is None:
        # Its config.json is not here: the sentence says how to get it.
        model_card(wanted)
    if config:
        for field in card.fields:
            out.say(f"  {visible(field.key)} = {visible(field.value)}: {visible(field.sentence)}")
    elif card is not None:
        out.say(f"  --config explains the {len(card.fields)} fields of its config.json.")
    return 0


def _hub(name: str) -> Any:
    from engine.problem import BadInput, Problem

    if name not in ("huggingface", "modelscope"):
        raise BadInput(
            Problem(f"There is no hub {name}.", "--hub", "Choose huggingface or modelscope.", "hub")
        )
    return name


def _id(name: str, hub: str) -> str:
    """A catalogue name as the id that it has on `hub`; anything else as it is."""
    from engine.models.catalogue import find

    if "/" in name or name == "demo":
        return name
    model = find(name)
    return (model.id_on(hub) or model.hf) if model is not None else name


class _Told:
    """Progress of a fetch on stderr: a line a new activity, and one every tenth of it."""

    def __init__(self) -> None:
        self._last: tuple[str, int] = ("", -1)

    def progress(self, activity: str, done: float, total: float, unit: str) -> None:
        tenth = int(10 * done / total) if total else 0
        if (activity, tenth) != self._last:
            self._last = (activity, tenth)
            amount = f" {size(done)} of {size(total)}" if total and unit == "bytes" else ""
            share = f" {10 * tenth} %" if total and unit != "bytes" else ""
            output().tell(f"{visible(activity)}{amount}{share}")
