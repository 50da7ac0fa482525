"""`finetui datasets edit`, `remove`, `copy`: entries of a registry that stand already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import output, visible
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets.registry_edit import Entry

FOLDER = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json.")
YES = typer.Option(False, "--yes", "-y", help="Do it without asking.")
NAME = Annotated[str, typer.Argument(help="A name of the registry.")]
CHANGES = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE…",
        help="name, file_name, formatting, ranking, num_samples, subset, split, columns.response, "
        "tags.user_tag, …; KEY= takes the key out.",
    ),
]
_NAMES = ("prompt", "query", "response", "history", "messages", "system", "tools", "images",
          "videos", "audios", "chosen", "rejected", "kto_tag")  # fmt: skip


def edit(
    name: NAME,
    changes: CHANGES,
    dataset_dir: str = FOLDER,
) -> int:
    """Change the entry of a set; every other byte of its registry stays as it is."""
    from engine.datasets.registry_edit import change_entry, listed_entry, value_with

    pairs = [_pair(word) for word in changes]
    new_name = dict(pairs).get("name", "")
    entry = listed_entry(name, dataset_dir or None)
    value = value_with(entry.value, [(key, text) for key, text in pairs if key != "name"])
    path = change_entry(entry, value, new_name)
    out = output()
    shown = json.dumps({new_name or name: value}, ensure_ascii=False, indent=2)
    out.say(visible(shown, lines=True))
    _look(listed_entry(new_name or name, dataset_dir or None))
    out.tell(f"{visible(new_name or name)} is changed in {visible(str(path))}.")
    return 0


def remove(
    name: NAME,
    dataset_dir: str = FOLDER,
    yes: bool = YES,
) -> int:
    """Take a set out of its registry; its files stay where they are."""
    from engine.datasets.registry_edit import listed_entry, remove_entry

    out = output()
    entry = listed_entry(name, dataset_dir or None)
    if not yes:
        if not out.is_terminal:
            out.tell("Nothing is removed yet: add --yes.")
            return 0
        where = visible(str(entry.registry))
        typer.confirm(f"Take {name} out of {where}? Its files stay.", abort=True)
    path = remove_entry(entry)
    out.tell(f"{visible(name)} is taken out of {visible(str(path))}; its files stay.")
    return 0


def copy(
    name: str = typer.Argument(..., help="A name of the registry, a bundled set too."),
    new_name: str = typer.Argument(..., help="What the copy is called."),
    dataset_dir: str = FOLDER,
) -> int:
    """Copy a set and its file into your own list, where both can be changed."""
    from engine.config import defaults_for_form
    from engine.datasets.fill import Fill
    from engine.datasets.registry_edit import copy_entry, listed_entry

    config = defaults_for_form()
    fill = Fill.of(config)
    path = copy_entry(listed_entry(name, dataset_dir or None), new_name, fill)
    output().tell(f"{visible(new_name)} is a copy of {visible(name)}, in {visible(str(path))}.")
    return 0


def _pair(word: str) -> tuple[str, str]:
    key, sign, text = word.partition("=")
    if not sign or not key:
        raise BadInput(
            Problem(f"{word!r} is not understood.", word, "KEY=VALUE, such as num_samples=500.")
        )
    if key in _NAMES:
        key = f"columns.{key}"
    elif key.endswith("_tag"):
        key = f"tags.{key}"
    return key, text


def _look(entry: Entry) -> None:
    """Say what of the rows can't be used as the entry is now; a hub's are not fetched for it."""
    from engine.datasets import open_rows
    from engine.datasets.detect import look
    from engine.datasets.hub import Access
    from engine.datasets.registry_edit import draft_of

    out = output()
    try:
        rows = open_rows(entry.info, access=Access(fetch=False))
        seen = look(draft_of(entry, rows.rows))
        rows.close()
    except BadInput as error:
        out.tell(f"note: {visible(error.problem.what)}")
        return
    if not seen.usable:
        out.tell(f"note: none of the first {seen.looked_at:,} rows can be used so.")
    for warning in seen.warnings:
        out.tell(f"note: {visible(warning)}")
