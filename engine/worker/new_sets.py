"""A set is added: made out from its file, looked at, written. Plain functions for `Engine.lookup`.

The screen imports the types from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.detect import Look
    from engine.datasets.draft import Draft, Judged, RowsAre
    from engine.datasets.registry_write import Keep

    __all__ = ["Draft", "Judged", "Keep", "Look", "RowsAre"]

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A draft and what its rows come to; the roles and fields of its turns, to choose from."""

    draft: Draft
    look: Look
    roles: tuple[str, ...] = ()
    turn_keys: tuple[str, ...] = ()


def make_out(
    source: str,
    config: RunConfig,
    subset: str | None = None,
    split: str | None = None,
    progress: Callable[[str, float, float, str], None] | None = None,
    check_stop: Callable[[], object] | None = None,
) -> Found:
    """What a file, a folder or a hub set (`hf:org/name`, `ms:org/name`, `s3://…`) holds.

    A hub set is fetched with the tokens of `config`: that may take long. Raises BadInput where it
    can't be read.
    """
    from engine.datasets.detect import detect
    from engine.datasets.hub import Access, detect_hub

    if is_far(source):
        access = Access.of(config, progress, check_stop)
        return look_again(detect_hub(source, subset, split, access))
    return look_again(detect(Path(source), subset, split))


def is_far(source: str) -> bool:
    """Whether a source has to be fetched before it can be looked at."""
    from engine.datasets.hub import is_hub_name

    return is_hub_name(source)


def beside(then: Callable[[Future[T]], None], function: Callable[..., T], *args: Any) -> None:
    """Compute on a thread of its own, as the look-up thread is not to wait for a hub; `then` gets
    the future there."""
    future: Future[T] = Future()
    future.add_done_callback(then)

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, name="finetui-new-set", daemon=True).start()


def look_again(draft: Draft) -> Found:
    """The rows of a corrected draft. Of rows that are held already: it is quick."""
    from engine.datasets.detect import look, roles, turn_keys

    return Found(draft, look(draft), tuple(roles(draft)), tuple(turn_keys(draft)))


def corrected(draft: Draft, name: str, value: str | None) -> Draft:
    """The draft with one value changed: `rows_are`, `judged`, `columns.…` or `tags.…`."""
    from engine.datasets.detect import guess

    part, _dot, inner = name.partition(".")
    if part == "columns":
        return draft.with_column(inner, value)
    if part == "tags":
        return draft.with_tag(inner, value)
    if part == "rows_are":
        return guess(draft, value, draft.judged)  # type: ignore[arg-type]
    return guess(draft, draft.rows_are, value)  # type: ignore[arg-type]


def places_for(draft: Draft, folder: Path | None) -> list[tuple[Keep, Path]]:
    """Where the entry may be written, the best first, each with the folder of its registry.

    `folder` is the chosen dataset folder, None where it is none on disk.
    """
    from engine.datasets.registry import own_sets_dir
    from engine.datasets.registry_write import is_bundled, lies_in

    own: tuple[Keep, Path] = ("own list", own_sets_dir())
    if folder is None or not folder.is_dir() or is_bundled(folder):
        return [own]
    if draft.path is None or lies_in(draft.path.absolute(), folder):
        return [("folder", folder), own]
    return [own, ("copy", folder)]


def add(
    draft: Draft,
    keep: Keep,
    folder: Path | None,
    replace: bool = False,
    beside: Path | None = None,
) -> Path:
    """Write the entry; returns the registry that holds it now. Raises BadInput.

    `beside` is the chosen dataset folder: a set of its own hides one of the person's list.
    """
    from engine.datasets.registry_write import add_set

    return add_set(draft, keep, folder, replace, beside)


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the first of `name_2`, `name_3`, … that no set has."""
    return next(
        one
        for one in chain((name,), (f"{name}_{number}" for number in count(2)))
        if one not in taken
    )


def choices_in(text: str) -> tuple[Path, list[Path]]:
    """The folder that a typed path is in, and what of it can be a set and begins as was typed.

    A folder that can't be read gives nothing to choose.
    """
    from engine.datasets.detect import data_files

    typed = Path(text or ".").expanduser()
    whole = not text or text.endswith("/") or text in (".", "..", "~")
    folder, begin = (typed, "") if whole else (typed.parent, typed.name)
    try:
        items = data_files(folder)
    except OSError:
        return folder, []
    return folder, [item for item in items if item.name.lower().startswith(begin.lower())]


def name_fault(name: str) -> str:
    """Why a set can't be called so; empty where it can."""
    from engine.datasets.registry_write import check_name
    from engine.problem import BadInput

    try:
        check_name(name)
    except BadInput as error:
        return error.problem.what
    return ""
