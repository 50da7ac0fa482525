"""Downloads from the Hugging Face hub: safetensors, configs and tokenizer files only.

The hub's own library lists, authorises and tells errors; the bytes are fetched here, as it throws
away a file that broke off in the middle (2.4: `_download_to_tmp_and_move`) and would start it
anew. Blobs, snapshots, refs and locks lie as in the library's cache, so either finds the other's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.datasets.fetching import CheckStop, LineBroke, Stream
from engine.models.folder import read_json
from engine.models.hub_cache import hub_cache_dir, model_cache
from engine.models.licence import licence_of
from engine.models.places import Place, remember_place
from engine.models.remote_code import check_own_code, is_trusted, needs_own_code
from engine.models.transfer import (
    Progress,
    RemoteFile,
    Tally,
    check_space,
    check_weights,
    choices_hint,
    fetch,
    short,
    silent,
    unreachable,
    wanted,
)
from engine.problem import BadInput, FinetuiError, JobFault, Problem, Stopped
from engine.runs.atomic import write_atomic

_YES = ("1", "true", "yes", "on")
_SILENCE_SECONDS = 30.0


def hub_offline() -> bool:
    """Whether HF_HUB_OFFLINE asks for no network at all."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES


def hub_endpoint() -> str:
    """HF_ENDPOINT (a mirror), else the hub itself."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def download_model(
    model: str,
    revision: str,
    cache_dir: str | None,
    token: str | None,
    with_code: bool,
    local_choices: list[str],
    progress: Progress,
    check_stop: CheckStop,
) -> Path:
    """Fetch the hub model `model` into the cache and return its folder.

    `with_code` also brings the model's own Python files (only with trust_remote_code); a model that
    can't do without them is refused before its weights are fetched, its code lying there to be
    read. `local_choices` are named where the hub can't be reached. What came before a break or a
    stop is gone on from by the next call. Raises `BadInput` for a wrong name or revision, a gated
    or private model, one without safetensors or with code that is not trusted; `JobFault` for a
    network fault or a full disk.
    """
    where = f"{hub_endpoint()}/{model}"
    if hub_offline():
        raise JobFault(
            Problem(
                f"HF_HUB_OFFLINE is set, so {model} is not fetched.",
                where,
                "Unset it to download. " + choices_hint(local_choices),
                "model_name_or_path",
            )
        )
    progress(f"Downloading {model}", 0, 0, "bytes")
    try:
        return _Download(model, revision, cache_dir, token).run(with_code, progress, check_stop)
    except (FinetuiError, Stopped):
        raise
    except Exception as error:
        # Every library below the hub's has its own errors; each becomes one sentence.
        raise _told(error, model, revision, local_choices) from error


class _Download:
    """One model's way into the cache."""

    def __init__(self, model: str, revision: str, cache_dir: str | None, token: str | None) -> None:
        self.model = model
        self.revision = revision
        self.token = token
        self.cache = hub_cache_dir(cache_dir)
        self.root = model_cache(model, self.cache)
        self.commit = ""

    def run(self, with_code: bool, progress: Progress, check_stop: CheckStop) -> Path:
        files, licence = self._listing()
        check_weights(self.model, files, f"{hub_endpoint()}/{self.model}")
        snapshot = self.root / "snapshots" / self.commit
        chosen = wanted(files, with_code)
        self._fetch([file for file in chosen if file.path == "config.json"], silent, check_stop)
        if not with_code and self._must_bring_code(snapshot):
            small = wanted(files, with_code=True)
            small = [file for file in small if not file.path.endswith(".safetensors")]
            self._fetch(small, progress, check_stop)
            check_own_code(snapshot, self.model, is_trusted(self.model, snapshot))
            chosen = wanted(files, with_code=True)
        check_space(self.model, self._missing_bytes(chosen), self.root)
        self._fetch(chosen, progress, check_stop)
        # Last, as in the library's cache: a name stands for a commit whose files are there.
        write_atomic(self.root / "refs" / self.revision, self.commit)
        place = Place(str(snapshot), "huggingface", self.commit, licence or licence_of(snapshot))
        remember_place(self.model, place)
        return snapshot

    def _listing(self) -> tuple[list[RemoteFile], str]:
        # Here, as importing the hub library takes a third of a second.
        from huggingface_hub import HfApi

        api = HfApi(token=self.token, endpoint=hub_endpoint())
        info = api.model_info(
            self.model, revision=self.revision, files_metadata=True, timeout=_SILENCE_SECONDS
        )
        self.commit = str(info.sha)
        card = info.card_data
        licence = (card.get("license_name") or card.get("license") or "") if card else ""
        return [_remote(entry) for entry in info.siblings or []], str(licence)

    def _must_bring_code(self, snapshot: Path) -> bool:
        config = snapshot / "config.json"
        return config.is_file() and needs_own_code(read_json(config))

    def _missing_bytes(self, files: Sequence[RemoteFile]) -> int:
        missing = 0
        for file in files:
            if not self._pointer(file).exists() and not self._blob(file).exists():
                part = self._part(file)
                missing += file.size - (part.stat().st_size if part.exists() else 0)
        return missing

    def _fetch(
        self, files: Sequence[RemoteFile], progress: Progress, check_stop: CheckStop
    ) -> None:
        tally = Tally(self.model, files, progress)
        for file in files:
            check_stop()
            tally.begin(file)
            if self._pointer(file).exists():
                continue
            with self._lock(file, check_stop):
                if not self._blob(file).exists():
                    fetch(file, self._blob(file), self._part(file), self._open, tally, check_stop)
                _point(self._pointer(file), self._blob(file))

    def _blob(self, file: RemoteFile) -> Path:
        return self.root / "blobs" / _etag(file)

    def _part(self, file: RemoteFile) -> Path:
        return self.root / "blobs" / f"{_etag(file)}.part"

    def _pointer(self, file: RemoteFile) -> Path:
        return self.root / "snapshots" / self.commit / file.path

    @contextmanager
    def _lock(self, file: RemoteFile, check_stop: CheckStop) -> Iterator[None]:
        """The library's own lock of this blob: two programs never write the same file."""
        from filelock import FileLock, Timeout

        path = self.cache / ".locks" / self.root.name / f"{_etag(file)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(path))
        while True:
            check_stop()
            with suppress(Timeout):
                lock.acquire(timeout=0.5)
                break
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _open(self, file: RemoteFile, start: int) -> Iterator[Stream]:
        import httpx2
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(self.model, file.path, revision=self.commit, endpoint=hub_endpoint())
        headers = {**build_hf_headers(token=self.token), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            with get_session().stream(
                "GET", url, headers=headers, timeout=_SILENCE_SECONDS
            ) as response:
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise LineBroke(f"the hub answered {response.status_code}")
                if response.status_code >= 400:
                    response.read()
                    hf_raise_for_status(response)
                yield Stream(response.status_code != 206, response.iter_bytes())
        except httpx2.TransportError as error:
            raise LineBroke(short(error)) from error


def _remote(entry: Any) -> RemoteFile:
    size = int(entry.size or 0)
    if entry.lfs is not None:
        return RemoteFile(entry.rfilename, size, f"sha256:{entry.lfs.sha256}")
    return RemoteFile(entry.rfilename, size, f"git:{entry.blob_id}" if entry.blob_id else "")


def _etag(file: RemoteFile) -> str:
    """A blob's name in the cache: the digest, which is also the hub's ETag."""
    return file.digest.partition(":")[2] or file.path.replace("/", "_")


def _point(pointer: Path, blob: Path) -> None:
    """Make a snapshot's file a link to its blob; a copy where the disk has no links."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(os.path.relpath(blob, pointer.parent), pointer)
    except FileExistsError:
        pass
    except OSError:
        shutil.copyfile(blob, pointer)


def _told(error: Exception, model: str, revision: str, local_choices: list[str]) -> FinetuiError:
    from huggingface_hub import errors

    where = f"{hub_endpoint().removeprefix('https://')}/{model}"
    if isinstance(error, errors.GatedRepoError):
        hint = f"Ask for access on {where}, then log in (`hf auth login`) or set HF_TOKEN."
        return BadInput(Problem(f"{model} is gated.", where, hint, "model_name_or_path"))
    if isinstance(error, errors.RevisionNotFoundError):
        hint = "Look at its branches and tags."
        what = f"{model} has no revision {revision}."
        return BadInput(Problem(what, where, hint, "model_revision"))
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = "Check the spelling; for a private model log in (`hf auth login`) or set HF_TOKEN."
        return BadInput(
            Problem(f"The hub has no model {model}.", where, hint, "model_name_or_path")
        )
    if isinstance(error, errors.HFValidationError):
        hint = "A hub id looks like owner/name."
        return BadInput(Problem(f"{model} is no valid hub id.", where, hint, "model_name_or_path"))
    if getattr(error, "errno", None) == 28:
        hint = "Free some space, or set cache_dir to a folder on another disk."
        return JobFault(Problem(f"The disk is full while fetching {model}.", where, hint))
    return unreachable("The hub", model, where, short(error), local_choices, "HF_ENDPOINT")
