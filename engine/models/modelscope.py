"""Downloads from ModelScope, by its own client (`modelscope-hub`, the extra `modelscope`).

The client lists, authorises and opens files; bytes, resuming and checks are those of
`engine.models.transfer`, as its own downloader can't be stopped between two bytes and prints bars.
Files lie where the client's own cache has them: `models/<owner>--<name>/snapshots/<revision>/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.datasets.fetching import CheckStop, LineBroke, Stream
from engine.installed import install_command
from engine.models.folder import read_json
from engine.models.licence import licence_of
from engine.models.ms_cache import ms_revision, ms_snapshot
from engine.models.places import Place, remember_place
from engine.models.remote_code import check_own_code, is_trusted, needs_own_code
from engine.models.transfer import (
    Progress,
    RemoteFile,
    Tally,
    check_space,
    check_weights,
    fetch,
    short,
    silent,
    unreachable,
    wanted,
)
from engine.modelscope import ms_cache_dir, ms_endpoint, ms_installed
from engine.problem import BadInput, FinetuiError, JobFault, Problem, Stopped

_CHUNK = 1 << 14


def download_model(
    model: str,
    revision: str | None,
    cache_dir: str | None,
    token: str | None,
    with_code: bool,
    local_choices: list[str],
    progress: Progress,
    check_stop: CheckStop,
) -> Path:
    """Fetch `model` from ModelScope and return its folder; as `engine.models.hub.download_model`.

    `token` is an access token; None takes MODELSCOPE_API_TOKEN or the client's own login.
    """
    where = f"{ms_endpoint()}/models/{model}"
    if not ms_installed():
        raise BadInput(
            Problem(
                "The ModelScope hub needs the package modelscope-hub.",
                "hub",
                install_command("modelscope"),
                "hub",
            )
        )
    progress(f"Downloading {model}", 0, 0, "bytes")
    try:
        download = _Download(model, ms_revision(revision), ms_cache_dir(cache_dir), token)
        return download.run(with_code, progress, check_stop)
    except (FinetuiError, Stopped):
        raise
    except Exception as error:
        raise _told(error, model, revision, where, local_choices) from error


class _Download:
    """One model's way into the cache."""

    def __init__(self, model: str, revision: str, cache: Path, token: str | None) -> None:
        from modelscope_hub import HubApi

        self.model = model
        self.revision = revision
        self.cache = cache
        self.snapshot = ms_snapshot(model, revision, cache)
        # By name, not by the client's own default: a mirror may have been set since it was read.
        self.api = HubApi(token=token, endpoint=ms_endpoint())

    def run(self, with_code: bool, progress: Progress, check_stop: CheckStop) -> Path:
        files = self._listing()
        check_weights(self.model, files, f"{ms_endpoint()}/models/{self.model}")
        chosen = wanted(files, with_code)
        self._fetch([file for file in chosen if file.path == "config.json"], silent, check_stop)
        config = self.snapshot / "config.json"
        if not with_code and config.is_file() and needs_own_code(read_json(config)):
            small = wanted(files, with_code=True)
            small = [file for file in small if not file.path.endswith(".safetensors")]
            self._fetch(small, progress, check_stop)
            check_own_code(self.snapshot, self.model, is_trusted(self.model, self.snapshot))
            chosen = wanted(files, with_code=True)
        check_space(self.model, sum(map(self._missing, chosen)), self.snapshot)
        self._fetch(chosen, progress, check_stop)
        licence = licence_of(self.snapshot) or self._told_licence()
        place = Place(str(self.snapshot), "modelscope", self.revision, licence)
        remember_place(self.model, place)
        return self.snapshot

    def _listing(self) -> list[RemoteFile]:
        entries = self.api.list_repo_files(self.model, "model", revision=self.revision)
        return [
            RemoteFile(entry.path, entry.size, f"sha256:{entry.sha256}" if entry.sha256 else "")
            for entry in entries
            if not entry.is_dir
        ]

    def _told_licence(self) -> str:
        from modelscope_hub import HubError

        with suppress(HubError):
            return str(getattr(self.api.get_repo(self.model, "model"), "license", "") or "")
        return ""

    def _target(self, file: RemoteFile) -> Path:
        return self.snapshot / file.path

    def _part(self, file: RemoteFile) -> Path:
        target = self._target(file)
        return target.with_name(f".{target.name}.part")

    def _missing(self, file: RemoteFile) -> int:
        if self._there(file):
            return 0
        part = self._part(file)
        return file.size - (part.stat().st_size if part.exists() else 0)

    def _there(self, file: RemoteFile) -> bool:
        target = self._target(file)
        return target.is_file() and target.stat().st_size == file.size

    def _fetch(self, files: list[RemoteFile], progress: Progress, check_stop: CheckStop) -> None:
        tally = Tally(self.model, files, progress)
        for file in files:
            check_stop()
            tally.begin(file)
            if not self._there(file):
                fetch(file, self._target(file), self._part(file), self._open, tally, check_stop)

    @contextmanager
    def _open(self, file: RemoteFile, start: int) -> Iterator[Stream]:
        import requests
        from modelscope_hub import NetworkError, RateLimitError, ServerError

        headers = {"Range": f"bytes={start}-"} if start else {}
        # Compressed on its way, a file could not be gone on from.
        headers["Accept-Encoding"] = "identity"
        try:
            response = self.api.legacy.download_stream(
                self.model, "model", file.path, self.revision, headers=headers
            )
            with response:
                yield Stream(response.status_code != 206, response.iter_content(_CHUNK))
        except (NetworkError, ServerError, RateLimitError, requests.RequestException) as error:
            raise LineBroke(short(error)) from error


def _told(
    error: Exception, model: str, revision: str | None, where: str, local_choices: list[str]
) -> FinetuiError:
    import modelscope_hub as ms

    if isinstance(error, ms.NotExistError):
        hint = "Check the spelling and model_revision; its ids differ from Hugging Face's at times."
        what = f"ModelScope has no model {model}" + (f" at {revision}." if revision else ".")
        return BadInput(Problem(what, where, hint, "model_name_or_path"))
    if isinstance(error, (ms.AuthenticationError, ms.PermissionDeniedError)):
        hint = f"Ask for access on {where}, then set MODELSCOPE_API_TOKEN."
        what = f"{model} is gated or private on ModelScope."
        return BadInput(Problem(what, where, hint, "model_name_or_path"))
    if isinstance(error, ms.InvalidParameter):
        hint = "A hub id looks like owner/name."
        return BadInput(Problem(f"{model} is no valid hub id.", where, hint, "model_name_or_path"))
    if getattr(error, "errno", None) == 28:
        hint = "Free some space, or set cache_dir to a folder on another disk."
        return JobFault(Problem(f"The disk is full while fetching {model}.", where, hint))
    return unreachable(
        "ModelScope", model, where, short(error), local_choices, "MODELSCOPE_ENDPOINT"
    )
