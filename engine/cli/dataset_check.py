"""`finetui datasets check`: a verdict in one line, and the detail behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from engine.cli.output import output, visible
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import DataCheck, Encoder, RowIndex
    from engine.datasets.checks import Alike

USABLE, SOME_UNUSABLE, UNREADABLE = 0, 1, 2
_BARS = "▏▎▍▌▋▊▉█"
_SHOWN = 5


def check(
    name: str = typer.Argument(..., help="A name of the registry."),
    dataset_dir: str = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json."),
    template: str = typer.Option("", "--template", help="Write the rows with this named template."),
    model: str = typer.Option("demo", "--model", help="Whose tokens and template."),
    cutoff: int = typer.Option(0, "--cutoff", min=0, help="cutoff_len; 0 takes the default."),
    against: str = typer.Option("", "--against", help="A validation set to compare the rows with."),
    limit: int = typer.Option(0, "--limit", min=0, help="Only the first rows; 0 takes all."),
    near: bool = typer.Option(True, "--near/--no-near", help="Look for nearly equal rows too."),
    all_rows: bool = typer.Option(False, "--all", help="List every row that a finding names."),
) -> int:
    """Check a set before training on it. Exit code 0 usable, 1 some rows unusable, 2 unreadable."""
    from engine.datasets import Fill, check_dataset, find_dataset, open_rows
    from engine.datasets.checks import leakage, near_duplicates, stage_for
    from engine.datasets.preparation import select

    out = output()
    try:
        info = find_dataset(name, dataset_dir or None)
        stage = stage_for(info)
        config = _config(model, template, cutoff, dataset_dir, stage)
        rows = open_rows(
            info, dataset_dir or None, Fill(config.identity_name, config.identity_author)
        )
        encoder = _encoder(rows, config, asked=model != "demo" or bool(template))
        found = check_dataset(rows, encoder, limit=limit or None, stage=stage, progress=_progress())
        alike: list[Alike] = []
        if near and found.checked > 1:
            alike = near_duplicates(rows, _progress(), limit=found.checked)
        leaks: list[Alike] = []
        if against:
            ours = select(config, [name], stage)
            theirs = select(config, [against], stage)
            leaks = leakage(ours.examples, theirs.examples, _progress())
    except OSError as error:
        raise BadInput(
            Problem(f"{name} can't be read: {error.strerror or error}.", name, "", "dataset")
        ) from None
    if not found.rows:
        raise BadInput(
            Problem(f"{name} holds no rows.", info.source, "Put rows into its file.", "dataset")
        )
    out.say(visible(found.verdict))
    _detail(found, alike, leaks, all_rows)
    return SOME_UNUSABLE if found.unusable else USABLE


def _config(model: str, template: str, cutoff: int, folder: str, stage: str) -> RunConfig:
    from engine.config import RunConfig

    values: dict[str, Any] = {"model_name_or_path": model, "stage": stage}
    if template:
        values["template"] = template
    if cutoff:
        values["cutoff_len"] = cutoff
    if folder:
        values["dataset_dir"] = folder
    return RunConfig(**values)


def _encoder(rows: RowIndex, config: RunConfig, asked: bool) -> Encoder | None:
    """The model's encoder; None, with a note, where the demo is not here and nobody named a model,
    and where the rows hold pictures that the model does not read."""
    from engine.datasets import Encoder
    from engine.datasets.media_rows import reads_only
    from engine.datasets.medium import words
    from engine.models.locate import resolve

    out = output()
    try:
        encoder = Encoder(resolve(config.model_name_or_path or "demo", config).path, config)
    except BadInput as error:
        if asked:
            raise
        out.tell(f"note: nothing is tokenised: {visible(error.problem.what)}")
        return None
    reads = encoder.pictures.placeholders if encoder.pictures is not None else ()
    missing = [kind for kind in rows.info.media if kind not in reads]
    if missing:
        out.tell(
            f"note: nothing is tokenised: the rows hold {words(missing)}, and the model reads only "
            f"{reads_only(reads)}. Name one that reads {words(missing)} with --model."
        )
        return None
    return encoder


def _progress() -> Any:
    """Progress on a terminal's stderr, four times a second; nothing in a pipe."""
    import time

    out = output()
    if not out.err.isatty():
        return None
    told = 0.0

    def tell(activity: str, done: float, total: float, unit: str) -> None:
        nonlocal told
        now = time.monotonic()
        if done >= total:
            out.err.write("\r\x1b[K")
        elif now - told >= 0.25:
            told = now
            out.err.write(f"\r\x1b[K{activity}: {done:,.0f} of {total:,.0f} {unit}")
        out.err.flush()

    return tell


def _detail(found: DataCheck, alike: list[Alike], leaks: list[Alike], all_rows: bool) -> None:
    out = output()
    if found.problems:
        out.say("\nrows that can't be used")
        for problem in found.problems:
            out.say(f"  row {problem.row:,}: {visible(problem.reason)}")
        rest = found.unusable - len(found.problems)
        if rest > 0:
            out.say(f"  and {rest:,} more")
    shown = [finding for finding in found.findings if finding.kind != "unusable"]
    if shown:
        out.say("\nfound")
        for finding in shown:
            out.say(f"  {visible(finding.words)}{_numbers(finding.rows, finding.count, all_rows)}")
    same = set(found.duplicates)
    near = [one for one in alike if one.row not in same]
    if near:
        out.say("\nnearly equal rows")
        for one in near if all_rows else near[:_SHOWN]:
            out.say(f"  row {one.row:,} is {one.likeness:.0%} like row {one.other:,}")
        if not all_rows and len(near) > _SHOWN:
            out.say(f"  and {len(near) - _SHOWN:,} more")
    if leaks:
        out.say("\nvalidation rows that are trained on")
        for one in leaks if all_rows else leaks[:_SHOWN]:
            how = "asks what" if one.question else f"is {one.likeness:.0%} like"
            end = " asks" if one.question else ""
            out.say(
                f"  row {one.row:,} of {visible(one.dataset)} {how} row {one.other:,} of "
                f"{visible(one.other_dataset)}{end}"
            )
        if not all_rows and len(leaks) > _SHOWN:
            out.say(f"  and {len(leaks) - _SHOWN:,} more")
    if found.tokens:
        _lengths(found)
    for title, lines in (("advice", found.advice), ("notes", found.notes)):
        told = {finding.words for finding in found.findings}
        lines = tuple(line for line in lines if line not in told)
        if lines:
            out.say(f"\n{title}")
            for line in lines:
                out.say(f"  {visible(line)}")


def _numbers(rows: tuple[int, ...], count: int, all_rows: bool) -> str:
    if not rows:
        return ""
    kept = rows if all_rows else rows[:_SHOWN]
    more = ", …" if count > len(kept) else ""
    return (
        f" Rows {', '.join(f'{row:,}' for row in kept)}{more}" if count > 1 else f" Row {rows[0]:,}"
    )


def _lengths(found: DataCheck) -> None:
    out = output()
    words = f"{found.tokens:,} tokens"
    if found.trained_tokens is not None:
        words += f", {found.trained_tokens:,} of them trained"
    out.say(f"\ntokens a row ({words})")
    names = ["longest" if percent == 100 else f"p{percent}" for percent, _ in found.percentiles]
    out.say("  " + "  ".join(f"{name:>7}" for name in names))
    out.say("  " + "  ".join(f"{tokens:>7,}" for _, tokens in found.percentiles))
    top, bins = max(found.histogram), len(found.histogram)
    for place, count in enumerate(found.histogram):
        edge = -(-found.longest * (place + 1) // bins)
        eighths = round(count / top * 320)
        bar = "█" * (eighths // 8) + (_BARS[eighths % 8 - 1] if eighths % 8 else "")
        out.say(f"  {edge:>7,} {bar or ('▏' if count else '')} {count:,}".rstrip())
