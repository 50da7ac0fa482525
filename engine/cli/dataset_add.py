"""`finetui datasets add`: a file becomes a set, its format made out from its rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.output import output, visible
from engine.paths import default_dataset_dir
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets.draft import Draft
    from engine.datasets.example import Example
    from engine.worker.new_sets import Keep


def add(
    source: str = typer.Argument(
        ..., metavar="FILE", help="A file or folder; or hf:org/name, ms:org/name, s3://…, gs://…"
    ),
    name: str = typer.Option("", "--name", help="What to call it; the file's name without one."),
    dataset_dir: str = typer.Option(
        "",
        "--dataset-dir",
        help="Whose registry it is written into: ./data where it lies in "
        "that, else your own list, which stands beside every folder.",
    ),
    copy: bool = typer.Option(False, "--copy", help="Copy the file into --dataset-dir first."),
    rows_are: str = typer.Option(
        "", "--format", help="alpaca, sharegpt, openai or text, where it is made out wrongly."
    ),
    judged: str = typer.Option(
        "", "--judged", help="'one answer', 'better and worse' or 'good or bad'."
    ),
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="ours=theirs, such as response=answer; ours= for none."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="ours=theirs, such as user_tag=customer.")
    ] = None,
    num_samples: int = typer.Option(0, "--num-samples", min=0, help="So many random rows of it."),
    subset: str = typer.Option("", "--subset", help="Subset of a hub set or of a folder."),
    split: str = typer.Option("", "--split", help="Its split; train without one."),
    replacing: bool = typer.Option(False, "--replace", help="Write over a set of that name."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Write it without asking."),
) -> int:
    """Make out what a file holds, show it with two rows, and add it to a registry."""
    from engine.datasets.detect import detect, guess, look
    from engine.datasets.draft import JUDGED, ROWS_ARE
    from engine.datasets.hub import detect_hub, is_hub_name
    from engine.datasets.registry_write import check_name
    from engine.worker.new_sets import add as write

    _one_of("format", rows_are, ROWS_ARE)
    _one_of("judged", judged, JUDGED)
    out = output()
    if is_hub_name(source):
        out.divert()
        draft = detect_hub(source, subset or None, split or None)
    else:
        draft = detect(Path(source), subset or None, split or None)
    if rows_are or judged:
        draft = guess(draft, rows_are or None, judged or None)  # type: ignore[arg-type]
    draft = _corrected(draft, column or [], tag or [])
    draft = replace(draft, name=name or draft.name, num_samples=num_samples or None)
    check_name(draft.name)
    keep, folder = _place(draft, dataset_dir, copy)
    seen = look(draft)
    entry = {draft.name: draft.entry(str(draft.path.absolute()) if draft.path else None)}
    out.say(visible(json.dumps(entry, ensure_ascii=False, indent=2), lines=True))
    for example in seen.examples:
        _show(example)
    for warning in seen.warnings:
        out.tell(f"note: {visible(warning)}")
    if not seen.usable:
        raise BadInput(
            Problem(
                f"None of the first {seen.looked_at:,} rows can be used so.",
                source,
                "Say what its columns are: --format, --column, --tag.",
                "dataset",
            )
        )
    if not yes:
        if not out.is_terminal:
            out.tell("Nothing is written yet: add --yes.")
            return 0
        typer.confirm(f"Add it as {draft.name}?", abort=True)
    path = write(draft, keep, folder, replacing, default_dataset_dir())
    out.tell(f"{visible(draft.name)} is written into {visible(str(path))}.")
    return 0


def _place(draft: Draft, dataset_dir: str, copy: bool) -> tuple[Keep, Path | None]:
    from engine.worker.new_sets import places_for

    if dataset_dir:
        return "copy" if copy else "folder", Path(dataset_dir).expanduser()
    if copy:
        raise BadInput(
            Problem("--copy needs to know where to.", "--copy", "Give --dataset-dir too.")
        )
    return places_for(draft, default_dataset_dir())[0]


def _corrected(draft: Draft, columns: list[str], tags: list[str]) -> Draft:
    from engine.datasets.draft import COLUMN_NAMES, TAG_NAMES

    for word in columns:
        ours, theirs = _pair(word, COLUMN_NAMES, "--column")
        draft = draft.with_column(ours, theirs)
    for word in tags:
        ours, theirs = _pair(word, TAG_NAMES, "--tag")
        draft = draft.with_tag(ours, theirs)
    return draft


def _pair(word: str, known: tuple[str, ...], option: str) -> tuple[str, str | None]:
    ours, sign, theirs = word.partition("=")
    if not sign or ours not in known:
        raise BadInput(
            Problem(
                f"{option} {word!r} is not understood.", option, f"ours=theirs: {', '.join(known)}."
            )
        )
    return ours, theirs or None


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value and value not in known:
        raise BadInput(
            Problem(f"--{option} {value!r} is not known.", f"--{option}", f"{', '.join(known)}.")
        )


def _show(example: Example) -> None:
    """A converted row, each turn under its role."""
    said = [("system", example.system)] if example.system else []
    for message in example.messages:
        said.append((message.role, message.content))
        said += [
            ("tool call", json.dumps(call.get("function", call), ensure_ascii=False))
            for call in message.tool_calls
        ]
    for title, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
        if answer is not None:
            said.append((title, answer.content))
    if example.label is not None:
        said.append(("label", "good" if example.label else "bad"))
    if example.text:
        said.append(("text", example.text))
    out = output()
    out.say(f"\nrow {example.source_row:,}")
    for role, text in said:
        out.say(f"  {role}")
        for line in text[:600].splitlines() or [""]:
            out.say(f"    {visible(line)}")
