"""`finetui datasets`: the registry's sets, and the rows of one."""

from __future__ import annotations

import json

import typer

from engine.cli import dataset_add, dataset_check, dataset_edit, dataset_find
from engine.cli.help_pages import Commands
from engine.cli.output import output, visible
from engine.cli.words import size
from engine.problem import BadInput, Problem

app = typer.Typer(
    cls=Commands,
    help="The sets of a dataset folder; without a command, a list of them.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
FOLDER = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json.")


@app.callback()
def datasets(context: typer.Context, dataset_dir: str = FOLDER) -> int:
    """List the sets of a dataset folder, with their rows and what they suit."""
    if context.invoked_subcommand is None:
        return listed(dataset_dir)
    # Given before the command it holds for the command; what stands behind it wins.
    if dataset_dir:
        context.default_map = {context.invoked_subcommand: {"dataset_dir": dataset_dir}}
    return 0


@app.command("list")
def listed(dataset_dir: str = FOLDER) -> int:
    """List the sets, as `finetui datasets` alone does."""
    from engine.datasets import list_datasets

    out = output()
    out.divert()
    entries = list_datasets(dataset_dir or None)
    out.table(
        ("name", "rows", "format", "shape", "size", "problem"),
        (
            (
                entry.name,
                f"{entry.rows:,}" if entry.rows is not None else "–",
                entry.kind,
                entry.shape,
                size(entry.size_bytes) if entry.size_bytes else "–",
                entry.problem.what if entry.problem else "",
            )
            for entry in entries
        ),
        right="rows,size",
    )
    return 0


@app.command("show")
def show(
    name: str = typer.Argument(..., help="A name of the registry."),
    dataset_dir: str = FOLDER,
    row: int = typer.Option(1, "--row", min=1, help="Which row, from 1."),
    tokens: bool = typer.Option(False, "--tokens", help="Show the row as tokens too."),
    model: str = typer.Option("demo", "--model", help="Whose tokens and template."),
    template: str = typer.Option("", "--template", help="Write it with this named template."),
    thinking: str = typer.Option("on", "--thinking", help="enable_thinking: on, off or empty."),
) -> int:
    """Print one row of a set as a conversation, and as tokens with the trained part marked."""
    from engine.config import defaults_for_form
    from engine.datasets import Fill, find_dataset, open_rows
    from engine.datasets.example import RowProblem

    out = output()
    out.divert()
    info = find_dataset(name, dataset_dir or None)
    rows = open_rows(info, dataset_dir or None, Fill.of(defaults_for_form()))
    if not rows.has(row - 1):
        what = f"{name} has {len(rows):,} rows; there is no row {row:,}."
        raise BadInput(Problem(what, where=name, hint=""))
    example = rows.example(row - 1)
    if isinstance(example, RowProblem):
        raise BadInput(
            Problem(
                f"The row can't be used: {example.reason}",
                where=f"{name}, row {row}",
                hint="Mend that row in its file; other rows are not affected.",
            )
        )
    out.say(f"{visible(name)}, row {row:,} of {rows.known:,}{'' if rows.done else '+'}")
    rows.close()  # the next command goes on where this one's index ends
    if example.system:
        _turn("system", example.system)
    for message in example.messages:
        _turn(message.role, message.content)
        for call in message.tool_calls:
            _turn("tool call", json.dumps(call.get("function", call), ensure_ascii=False))
    for title, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        if answer is not None:
            _turn(title, answer.content)
    if example.label is not None:
        out.say(f"label: {'good' if example.label else 'bad'}")
    if example.text:
        out.say(visible(example.text, lines=True))
    if tokens or template:
        _tokens(example, model, template, thinking)
    return 0


app.command("add")(dataset_add.add)
app.command("edit")(dataset_edit.edit)
app.command("remove")(dataset_edit.remove)
app.command("copy")(dataset_edit.copy)
app.command("check")(dataset_check.check)
app.command("find")(dataset_find.find)


def _turn(role: str, content: str) -> None:
    out = output()
    out.say(f"\n{role}")
    for line in content.splitlines() or [""]:
        out.say(f"  {visible(line)}")


def _tokens(example: object, model: str, template: str, thinking: str) -> None:
    from engine.config import defaults_for_form, with_value
    from engine.datasets import Encoder
    from engine.models.locate import resolve

    out = output()
    config = with_value(defaults_for_form(), "model_name_or_path", model)
    config = with_value(config, "enable_thinking", None if thinking == "empty" else thinking)
    config = with_value(config, "template", template or None)
    encoder = Encoder(resolve(model, config).path, config)
    for note in encoder.notes:
        out.tell(visible(note))
    pieces = encoder.pieces(example)  # type: ignore[arg-type]
    out.say("\ntokens (trained ones in brackets, cut ones in braces)")
    marks = {"prompt": "{}", "trained": "[{}]", "cut": "{{{}}}"}
    out.say("".join(marks[piece.part].format(visible(piece.text)) for piece in pieces))
    counts = {part: sum(piece.part == part for piece in pieces) for part in marks}
    out.say(
        f"{len(pieces)} tokens: {counts['prompt']} prompt, {counts['trained']} trained, "
        f"{counts['cut']} cut off"
    )
