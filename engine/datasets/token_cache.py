"""Prepared rows on disk, so that a run over the same rows starts at once.

A prepared set is a folder: its tokens in plain binary files, which are mapped, not read, and
`prepared.json`, written last, which says what they were made of. It stands in the user's cache
under the digest of that (the content of the data, the tokenizer's files, the template's text, and
each setting that matters), or where `tokenized_path` says.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.cache_key import key_of, made_of
from engine.datasets.cache_media import MediaFiles, still_there
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import Example, RowProblem
from engine.datasets.hub import Access, Fetched, fetch_hub
from engine.datasets.media import media_root
from engine.datasets.media.embedded import throw_out
from engine.datasets.packing import PackedRows
from engine.datasets.prepared import Prepared
from engine.datasets.stage_rows import PartRows, RowForm, TokenRows
from engine.datasets.streaming import StreamedRows
from engine.paths import cache_dir
from engine.problem import BadInput, Problem
from engine.runs.atomic import sync_folder, write_atomic

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder

MOST_BYTES = 20 << 30
# Fewer tokens are made again about as fast as they are read.
LEAST_TOKENS = 100_000
DESCRIPTION = "prepared.json"
_KINDS = {"ids": "i", "trained": "B", "ends": "Q", "lengths": "i", "groups": "Q"}
_FORMS: dict[str, Any] = {"tokens": TokenRows, "parts": PartRows, "packed": PackedRows}


class Keeping:
    """Where the rows of one run are kept, if they are.

    `train` and `evaluation` are its sets, `form` that of its rows.
    """

    def __init__(
        self,
        config: RunConfig,
        encoder: Encoder,
        form: RowForm,
        train: list[DatasetInfo],
        evaluation: list[DatasetInfo],
        check_stop: Callable[[], None] | None = None,
        access: Access | None = None,
    ) -> None:
        self._config = config
        self._note = ""
        self._own = bool(config.tokenized_path)
        self._check_stop = check_stop
        self._infos = [*train, *evaluation]
        # The sets of a hub, fetched: what they hold is known then.
        self.fetched: dict[str, Fetched] = {
            info.name: fetch_hub(info, access)
            for info in self._infos
            if access is not None and info.path is None
        }
        self._media: MediaFiles | None = None
        self._parts = made_of(
            config, encoder, form, train, evaluation, check_stop, self.fetched, with_media=True
        )
        if self._own and self._parts is None:
            self._note = "tokenized_path: what these sets hold can't be known, so nothing is kept."
        self._folder = Path()
        if self._parts is not None:
            inside = tokens_folder() / key_of(self._parts)
            own = Path(config.tokenized_path or "").expanduser()
            self._folder = own if self._own else inside

    def find(self) -> Prepared | None:
        """The rows as they were kept, with what was said of them; None where they are to be made.

        Raises BadInput where `tokenized_path` holds rows of another tokenizer, template, settings.
        """
        if self._parts is None or self._config.overwrite_cache:
            return None
        try:
            found = load(self._folder)
        except ValueError as error:
            self._note = f"The kept tokens were damaged ({error}), so they are made anew."
            return None
        if found is None:
            return None
        prepared, parts = found
        files = parts.get("files") or []
        if not still_there(files, media_root(self._config), self._infos, self._check_stop):
            self._note = "Pictures or other files of the rows have changed: tokens are made anew."
            return None
        where = f"from {self._folder}" if self._own else "from the cache"
        told = f"Tokens come {where}; overwrite_cache: true makes them anew."
        if self._own:
            check_agrees(parts, self._parts, self._folder)
            here = json.loads(json.dumps([self._parts["data"], self._parts["evaluation"]]))
            if [parts.get("data"), parts.get("evaluation")] != here:
                told += " They were made of other data than dataset names now."
        return replace(prepared, notes=(*prepared.notes, told))

    def saw(self, examples: Iterable[Example]) -> None:
        """Note the media of all rows as they are now, before they become tokens."""
        if self._parts is not None:
            media = (medium for example in examples for medium in example.media)
            self._media = MediaFiles(media_root(self._config), media)

    def keep(self, prepared: Prepared) -> Prepared:
        """Keep the rows just made, where they are many or asked to be kept."""
        notes = [self._note] if self._note else []
        if self._parts is not None and self._worth_it(prepared):
            try:
                files = self._media.records(self._check_stop) if self._media else []
                if files is not None:
                    save(prepared, {**self._parts, "files": files}, self._folder)
                if not self._own:
                    keep_within()
                throw_out()
            except OSError as error:
                reason = error.strerror or str(error)
                notes.append(f"The tokens can't be kept in {self._folder}: {reason}.")
        return replace(prepared, notes=(*prepared.notes, *notes))

    def _worth_it(self, prepared: Prepared) -> bool:
        if prepared.train.has_media or prepared.eval.has_media:
            return True  # to look at each picture takes long
        return self._own or prepared.tokens + prepared.eval.tokens >= LEAST_TOKENS


def tokens_folder() -> Path:
    """Where the user's prepared sets are kept."""
    return cache_dir() / "tokens"


def load(folder: Path) -> tuple[Prepared, dict[str, Any]] | None:
    """A prepared set and what it was made of; None where there is none.

    Raises ValueError, saying why, for one that is damaged.
    """
    try:
        raw = (folder / DESCRIPTION).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    try:
        told = json.loads(raw)
        rows = {}
        for part in ("train", "eval"):
            facts = told[part]
            flat = {
                name: _mapped(folder / f"{part}.{name}", *size)
                for name, size in facts["files"].items()
            }
            rows[part] = _FORMS[facts["form"]].from_flat(flat, facts)
        prepared = Prepared(
            rows["train"],
            rows["eval"],
            told["counts"],
            told["eval_counts"],
            tuple(RowProblem(*problem) for problem in told["dropped"]),
            tuple(told["notes"]),
        )
        _used(folder)
        return prepared, told["made_of"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{DESCRIPTION} lacks {error}") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def save(prepared: Prepared, parts: Mapping[str, Any], folder: Path) -> None:
    """Write a prepared set: all of it, or nothing. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        told: dict[str, Any] = {"made_of": parts}
        for part, rows in (("train", prepared.train), ("eval", prepared.eval)):
            assert not isinstance(rows, StreamedRows)  # those are kept nowhere
            files = {}
            for name, buffer in rows.flat().items():
                view = memoryview(buffer).cast("B")
                with (work / f"{part}.{name}").open("wb") as file:
                    file.write(view)
                    file.flush()
                    os.fsync(file.fileno())
                files[name] = [len(view), zlib.crc32(view)]
            told[part] = {**rows.facts(), "files": files}
        told["counts"], told["eval_counts"] = dict(prepared.counts), dict(prepared.eval_counts)
        told["dropped"] = [[p.dataset, p.row, p.reason] for p in prepared.dropped]
        told["notes"] = list(prepared.notes)
        write_atomic(work / DESCRIPTION, json.dumps(told, default=str))
        _used(work)
        os.chmod(work, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(work, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def keep_within(most: int = MOST_BYTES) -> int:
    """Throw the sets that were not used for longest out of the cache; returns how many."""
    found = []
    for folder in tokens_folder().iterdir() if tokens_folder().is_dir() else ():
        with suppress(OSError):  # another process may be throwing it out
            size = sum(item.stat().st_size for item in folder.iterdir())
            told = folder / DESCRIPTION
            used = (told if told.exists() else folder).stat().st_mtime
            found.append((used, size, folder))
    total = sum(size for _, size, _ in found)
    gone = 0
    for _, size, folder in sorted(found):
        if total <= most:
            break
        shutil.rmtree(folder, ignore_errors=True)
        total -= size
        gone += 1
    return gone


def kept_in_words() -> str:
    """The cache's folder, how much is in it and how much may be."""
    files = tokens_folder().rglob("*") if tokens_folder().is_dir() else ()
    held = 0
    for item in files:
        with suppress(OSError):
            held += item.stat().st_size
    return f"{tokens_folder()} ({held / 2**30:.1f} of at most {MOST_BYTES >> 30} GB)"


def check_agrees(had: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Raise BadInput where a set in `tokenized_path` was made with another tokenizer, template or
    settings than this run's."""
    differing = [
        name
        for name, value in json.loads(json.dumps(wanted["settings"], default=str)).items()
        if had.get("settings", {}).get(name) != value and name != "rendered"
    ]
    named = {
        "media": "another way to read media",
        "template": "another template",
        "tokenizer": "another tokenizer",
    }
    for part, words in named.items():
        if json.loads(json.dumps(had.get(part))) != json.loads(json.dumps(wanted.get(part))):
            differing.insert(0, words)
    if had.get("version") != wanted["version"]:
        differing.insert(0, "another version of finetui")
    if differing:
        raise BadInput(
            Problem(
                f"The rows in tokenized_path were made otherwise: {', '.join(differing)}.",
                str(folder),
                "Name another folder, delete that one, or set these as they were.",
                "tokenized_path",
            )
        )


def _used(folder: Path) -> None:
    """Note that a set was used now: those that were not for longest are thrown out first."""
    now = time.time_ns()  # finer than the file system's own clock
    os.utime(folder / DESCRIPTION, ns=(now, now))


def _mapped(path: Path, size: int, checksum: int) -> memoryview:
    kind: Any = _KINDS[path.suffix[1:]]
    if path.stat().st_size != size:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes instead of {size:,}")
    if not size:
        return memoryview(b"").cast(kind)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(mapped)
    if zlib.crc32(view) != checksum:
        raise ValueError(f"{path.name} is not what was written")
    return view.cast(kind)
