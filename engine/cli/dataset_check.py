"""`finetui datasets check`: a verdict in one line, and the detail behind it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class _Checked:
    """What was found in a set."""

    found: DataCheck
    alike: list[Alike]
    leaks: list[Alike]


def check(
    names: str = typer.Argument(..., metavar="NAME[,NAME…]", help="Names of the registry."),
    dataset_dir: str = typer.Option("", "--dataset-dir", help="The folder with dataset_info.json."),
    template: str = typer.Option("", "--template", help="Write the rows with this named template."),
    model: str = typer.Option("demo", "--model", help="Whose tokens and template."),
    cutoff: int = typer.Option(0, "--cutoff", min=0, help="cutoff_len; 0 takes the default."),
    against: str = typer.Option("", "--against", help="Validation sets to compare the rows with."),
    limit: int = typer.Option(0, "--limit", min=0, help="Only the first rows; 0 takes all."),
    near: bool = typer.Option(True, "--near/--no-near", help="Look for nearly equal rows too."),
    all_rows: bool = typer.Option(False, "--all", help="List every row that a finding names."),
    as_json: bool = typer.Option(False, "--json", help="Print a line of JSON a set, for scripts."),
) -> int:
    """Check sets before training on them. Exit code 0 usable, 1 some rows unusable, 2 unreadable.

    Of several sets each is checked, and the worst code is returned.
    """
    from engine.datasets.preparation import set_names

    out = output()
    # Decoders of sounds and videos write to stderr by themselves.
    out.divert()
    chosen = set_names(names)
    if not chosen:
        raise BadInput(Problem("No set is named.", "datasets check", "Name one of the registry."))
    codes, usable, total = [], 0, 0
    for place, name in enumerate(chosen):
        try:
            checked = _checked(name, dataset_dir, template, model, cutoff, against, limit, near)
        except BadInput as error:
            if as_json:
                out.say(json.dumps(_unreadable(name, error.problem), ensure_ascii=False))
            elif len(chosen) == 1:
                raise
            else:
                out.problem(error.problem)
            codes.append(UNREADABLE)
            continue
        found = checked.found
        codes.append(SOME_UNUSABLE if found.unusable else USABLE)
        usable, total = usable + found.usable, total + found.checked
        if as_json:
            out.say(json.dumps(_as_json(checked), ensure_ascii=False))
            continue
        if place:
            out.say()
        out.say(visible(found.verdict))
        _detail(found, checked.alike, checked.leaks, all_rows)
    if len(chosen) > 1 and not as_json:
        out.say(f"\n{len(chosen)} sets: {usable:,} of {total:,} rows can be used.")
    return max(codes)


def _checked(
    name: str,
    folder: str,
    template: str,
    model: str,
    cutoff: int,
    against: str,
    limit: int,
    near: bool,
) -> _Checked:
    """Check one set. Raises BadInput for one that can't be read or holds nothing."""
    from engine.datasets import Fill, check_dataset, find_dataset, open_rows
    from engine.datasets.checks import KeptCheck, leakage, near_duplicates, stage_for
    from engine.datasets.hub import Access
    from engine.datasets.preparation import select, set_names

    try:
        info = find_dataset(name, folder or None)
        stage = stage_for(info)
        config = _config(model, template, cutoff, folder, stage)
        fill = Fill.of(config)
        rows = open_rows(info, folder or None, fill, access=Access.of(config, _progress()))
        encoder = _encoder(rows, config, asked=model != "demo" or bool(template))
        kept = KeptCheck(config, encoder, rows.info, limit=limit or None)
        found = kept.find()
        if found is None:
            found = check_dataset(
                rows,
                encoder,
                limit=limit or None,
                stage=stage,
                progress=_progress(),
                config=config,
            )
            kept.keep(found)
        alike: list[Alike] = []
        if near and found.checked > 1:
            known = kept.find_alike(found.checked)
            if known is None:
                known = near_duplicates(rows, _progress(), limit=found.checked)
                kept.keep_alike(known, found.checked)
            alike = known
        leaks: list[Alike] = []
        if against:
            ours = select(config, [name], stage)
            theirs = select(config, set_names(against), stage)
            leaks = leakage(ours.examples, theirs.examples, _progress())
    except OSError as error:
        raise BadInput(
            Problem(f"{name} can't be read: {error.strerror or error}.", name, "", "dataset")
        ) from None
    if not found.rows:
        raise BadInput(
            Problem(f"{name} holds no rows.", info.source, "Put rows into its file.", "dataset")
        )
    return _Checked(found, alike, leaks)


def _as_json(checked: _Checked) -> dict[str, Any]:
    """All that was found in a set; `status` is that of its verdict."""
    found = checked.found
    same = set(found.duplicates)
    return {
        "status": found.status,
        "verdict": found.verdict,
        **asdict(found),
        "near": [asdict(one) for one in checked.alike if one.row not in same],
        "leaks": [asdict(one) for one in checked.leaks],
    }


def _unreadable(name: str, problem: Problem) -> dict[str, Any]:
    told = {"what": problem.what, "where": problem.where, "hint": problem.hint}
    return {"dataset": name, "status": "unreadable", "problem": told}


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
    reads = encoder.media.placeholders if encoder.media is not None else ()
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
