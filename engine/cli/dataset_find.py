"""`finetui datasets find`: rows of a set that hold a text, fit an expression or meet conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from engine.cli.output import output, visible
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

_AROUND = 40


def find(
    name: str = typer.Argument(..., help="A name of the registry."),
    pattern: str = typer.Argument("", help="The text to look for, in upper or lower case."),
    dataset_dir: str = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json."),
    regex: bool = typer.Option(False, "--regex", help="The text is a regular expression."),
    where: str = typer.Option(
        "",
        "--where",
        help="Conditions that all must hold: 'tokens>1024', cut, 'trained=0', role=tool, "
        "'turns>4', 'chars>2000', bad.",
    ),
    model: str = typer.Option("demo", "--model", help="Whose tokens --where counts."),
    template: str = typer.Option("", "--template", help="Written with this named template."),
    cutoff: int = typer.Option(0, "--cutoff-len", min=0, help="What cut and trained follow."),
    most: int = typer.Option(20, "--most", min=0, help="Print so many rows; 0 prints all."),
) -> int:
    """Print the rows of a set that hold a text, or meet conditions; exit 1 where none does."""
    from engine.datasets import Fill, open_rows
    from engine.datasets.browse.walk import RowWalk
    from engine.datasets.browse.wanted import both, excerpt, with_pattern, with_text
    from engine.worker.rows import filter_of

    if not pattern and not where:
        raise BadInput(Problem("There is nothing to look for.", "", "Give a text, or --where."))
    words = (with_pattern if regex else with_text)(pattern) if pattern else None
    config = _config(model, template, cutoff)
    out = output()
    out.divert()
    fill = Fill.of(config)
    rows = open_rows(name, dataset_dir or None, fill)
    conditions = filter_of(where, rows, config) if where else None
    wanted = both(words, conditions)
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


def _config(model: str, template: str, cutoff: int) -> RunConfig:
    """What tokens follow, apart from the rows."""
    from engine.config import defaults_for_form, with_value

    config = with_value(defaults_for_form(), "model_name_or_path", model)
    config = with_value(config, "template", template or None)
    return with_value(config, "cutoff_len", cutoff) if cutoff else config
