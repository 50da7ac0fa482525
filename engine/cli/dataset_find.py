"""`finetui datasets find`: the rows of a set that hold a text or fit an expression."""

from __future__ import annotations

import typer

from engine.cli.output import output, visible

_AROUND = 40


def find(
    name: str = typer.Argument(..., help="A name of the registry."),
    pattern: str = typer.Argument(..., help="The text to look for, in upper or lower case."),
    dataset_dir: str = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json."),
    regex: bool = typer.Option(False, "--regex", help="The text is a regular expression."),
    most: int = typer.Option(20, "--most", min=0, help="Print so many rows; 0 prints all."),
) -> int:
    """Print the rows of a set that hold a text, with the place where; exit 1 where none does."""
    from engine.datasets import open_rows
    from engine.datasets.browse.walk import RowWalk
    from engine.datasets.browse.wanted import excerpt, with_pattern, with_text

    wanted = with_pattern(pattern) if regex else with_text(pattern)
    rows = open_rows(name, dataset_dir or None)
    out = output()
    walk, printed = RowWalk(rows, wanted), 0
    while True:
        ended = walk.done
        for place in walk.places()[printed : most or None]:
            out.say(f"{place + 1:>9,}  {visible(excerpt(rows, place, wanted, _AROUND))}")
            printed += 1
        if ended or (most and printed >= most):
            break
        walk.join(0.1)
    walk.cancel()
    rows.close()
    if walk.fault is not None:
        raise walk.fault
    if ended:
        noun = "row" if walk.found == 1 else "rows"
        out.tell(f"{walk.found:,} {noun} of {len(rows):,} in {visible(name)}")
    else:
        out.tell(f"the first {printed:,}; --most 0 prints all")
    return 0 if walk.found else 1
