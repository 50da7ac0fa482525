"""Sets that lie elsewhere: on the hubs, in a bucket, in a hub's registry. All of it may take long:
never on the screen's thread."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.datasets.hub_reach import hub_or_cache
from engine.paths import cache_dir
from engine.problem import BadInput, FinetuiError, Problem, Stopped
from engine.runs.atomic import write_atomic

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.dataset_info import DatasetInfo
    from engine.datasets.draft import Draft

# activity, done, total, unit: how far a fetch is.
Progress = Callable[[str, float, float, str], None]
CheckStop = Callable[[], object]
_log = logging.getLogger(__name__)
CLOUDS = ("s3://", "gs://", "gcs://")
_PREFIXES = {"hf:": "hf_hub_url", "ms:": "ms_hub_url"}


@dataclass(frozen=True)
class Access:
    """How a set that lies elsewhere is fetched: the tokens of both hubs, the preferred `hub` where
    an entry names both, and who is told. Without `fetch` only what was fetched before is opened."""

    token: str | None = None
    ms_token: str | None = None
    hub: str = "huggingface"
    progress: Progress | None = None
    check_stop: CheckStop | None = None
    fetch: bool = True

    @classmethod
    def of(
        cls,
        config: RunConfig,
        progress: Progress | None = None,
        check_stop: CheckStop | None = None,
        fetch: bool = True,
    ) -> Access:
        """As a run's settings say."""
        tokens = (config.hf_hub_token, config.ms_hub_token)
        return cls(*tokens, str(config.hub), progress, check_stop, fetch)


class Fetched(NamedTuple):
    """The rows of a set that was fetched, and the files on disk that they are read from: none
    where they are only in memory."""

    rows: Any
    files: tuple[Path, ...]


def open_hub(info: DatasetInfo, access: Access | None = None) -> Any:
    """The rows of a set that lies elsewhere. See `fetch_hub`."""
    return fetch_hub(info, access).rows


def fetch_hub(info: DatasetInfo, access: Access | None = None) -> Fetched:
    """Fetch a set (once; it is kept in the hub's own cache or ours) and open its rows.

    Where an entry names both hubs, `access.hub` or USE_MODELSCOPE_HUB=1 prefers ModelScope's.
    Raises BadInput when it can't be had, or was not fetched before and is not to be now.
    """
    access = access or Access()
    if not access.fetch and _mark(info) not in _fetched():
        raise _bad(
            f"{info.source} was not fetched yet.",
            info,
            f"A run fetches it, and so does: finetui datasets show {info.name}",
        )
    found = _opened(info, access)
    _remember(info)
    return found


def _opened(info: DatasetInfo, access: Access) -> Fetched:
    fetch = (access.progress or _silent, access.check_stop or _on)
    token = access.token
    wished = access.hub == "modelscope" or _prefers_modelscope()
    if info.ms_hub_url and (wished or not info.hf_hub_url):
        from engine.datasets.modelscope import fetch_dataset

        folder = fetch_dataset(info.ms_hub_url, info.hub_folder, access.ms_token, *fetch)
        return _load(info, info.ms_hub_url, str(folder), None)
    if info.hf_hub_url:
        with hub_or_cache(fetch[1]) as away:
            if away is None and (access.progress or access.check_stop):
                _tell_fetching(info, token, *fetch)
            return _load(info, info.hf_hub_url, info.hf_hub_url, token, away)
    if info.om_hub_url:
        raise _bad(
            f"{info.name!r} lies on the Modelers hub, which finetui does not fetch from.",
            info,
            f"Fetch {info.om_hub_url} with its own client (openmind_hub), and give file_name.",
        )
    if info.cloud_file_name:
        from engine.datasets.cloud import fetch_cloud
        from engine.datasets.files import open_path

        path = fetch_cloud(info.name, info.cloud_file_name, *fetch)
        return Fetched(open_path(path), (path,))
    return _open_remote(info, token, *fetch)


def is_hub_name(source: str) -> bool:
    """Whether a typed source is a hub's (`hf:org/name`, `ms:org/name`) or a bucket's."""
    return source.startswith((*_PREFIXES, *CLOUDS))


def detect_hub(
    source: str,
    subset: str | None = None,
    split: str | None = None,
    access: Access | None = None,
) -> Draft:
    """What a hub set holds, as `detect` of a file. It is fetched. Raises BadInput."""
    from engine.datasets.dataset_info import read_entry
    from engine.datasets.detect import detect_rows

    prefix = next((one for one in _PREFIXES if source.startswith(one)), "")
    where = source.removeprefix(prefix)
    given = {_PREFIXES.get(prefix, "cloud_file_name"): where}
    given |= {key: value for key, value in (("subset", subset), ("split", split)) if value}
    name = where.rstrip("/").rsplit("/", 1)[-1].split(".")[0] or "set"
    info = read_entry(name, given, Path())
    return detect_rows(open_hub(info, access), name, None, given)


def remote_registry(repo: str, token: str | None = None) -> Path:
    """The folder of a registry that lives on the hub (`dataset_dir: REMOTE:org/repo`)."""
    from huggingface_hub import hf_hub_download

    away: Exception | None = None
    try:
        with hub_or_cache(_on) as away:
            path = hf_hub_download(repo, "dataset_info.json", repo_type="dataset", token=token)
        return Path(path).parent
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(
            Problem(
                f"The registry {repo} could not be fetched from the hub: {_why(away or error)}.",
                f"dataset_dir REMOTE:{repo}",
                "Check the name and the network, or download it and give its folder.",
                "dataset_dir",
            )
        ) from None


def _open_remote(
    info: DatasetInfo, token: str | None, progress: Progress, check_stop: CheckStop
) -> Fetched:
    """A file or folder that lies beside a hub's registry, or the part of it that is asked for."""
    from huggingface_hub.errors import EntryNotFoundError

    from engine.datasets.hub_files import fetch_beside
    from engine.datasets.local import local_files, open_local

    assert info.remote is not None and info.file_name is not None
    repo, name = info.remote, os.path.normpath(info.file_name)
    away: Exception | None = None
    try:
        with hub_or_cache(check_stop) as away:
            root = fetch_beside(repo, name, token, progress, check_stop)
    except EntryNotFoundError:
        raise _bad(
            f"There is no file {name} in {repo}.", info, "Check file_name in its registry."
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _bad(
            f"{name} of {repo} could not be fetched from the hub: {_why(away or error)}.",
            info,
            "Check the name and the network, or download it and give file_name.",
        ) from None
    here = replace(info, remote=None, folder=root, file_name=name)
    return Fetched(open_local(here), tuple(local_files(here)))


def _tell_fetching(
    info: DatasetInfo, token: str | None, progress: Progress, check_stop: CheckStop
) -> None:
    """Fetch a Hugging Face set's files with their progress told."""
    assert info.hf_hub_url is not None
    from engine.datasets.hub_files import fetch_files

    try:
        fetch_files(info, info.hf_hub_url, token, progress, check_stop)
    except (FinetuiError, Stopped):
        raise
    except Exception as error:
        # Opening it meets the same fault, and says it in a sentence; here it would be said twice.
        _log.debug("%s could not be fetched beforehand: %s", info.hf_hub_url, error)


def _load(
    info: DatasetInfo, name: str, place: str, token: str | None, away: Exception | None = None
) -> Fetched:
    """By the package `datasets`: from the hub, from a folder fetched already, or, where the hub is
    `away`, from what that package has kept."""
    import datasets

    try:
        # Of a folder that was fetched by its `folder`, only that is there.
        found = datasets.load_dataset(
            place, info.subset, split=info.split, data_dir=info.hub_folder, token=token
        )
    except (FinetuiError, Stopped):
        raise
    except Exception as error:
        # Its errors are of no common kind: each reader below it brings its own.
        raise _not_loaded(name, info, error, away) from None
    files = tuple(Path(one["filename"]) for one in getattr(found, "cache_files", None) or ())
    return Fetched(_undecoded(found), files)


def _not_loaded(name: str, info: DatasetInfo, error: Exception, away: Exception | None) -> BadInput:
    if away is not None and isinstance(error, FileNotFoundError | ConnectionError):
        return _bad(
            f"The hub can't be reached, so {name} could not be fetched: {_why(away)}.",
            info,
            "Check the network, HF_ENDPOINT and proxy, or download the files and give file_name.",
        )
    if isinstance(error, FileNotFoundError):
        # `datasets` says so of a repository that is not there, and of one it may not see.
        return _bad(
            f"There is no dataset {name} on the hub, or it can't be reached from here.",
            info,
            "Check the name and the network, or download the files and give file_name.",
        )
    return _bad(
        f"{name} could not be loaded from the hub: {_why(error)}.",
        info,
        "Check the network, subset and split, or download the files and give file_name.",
    )


def _undecoded(found: Any) -> Any:
    """Pictures and sounds as the file has them: a row that is read is not to be decoded."""
    for name, feature in (getattr(found, "features", None) or {}).items():
        plain = copy.deepcopy(feature)
        if _stop_decoding(plain):
            found = found.cast_column(name, plain)
    return found


def _stop_decoding(feature: Any) -> bool:
    """Tell every picture, sound and video within a feature not to be decoded; whether any was."""
    import datasets

    if isinstance(feature, tuple(_decoded(datasets))):
        setattr(feature, "decode", False)  # noqa: B010  # of three classes
        return True
    inner: list[Any] = []
    if isinstance(feature, dict):
        inner = list(feature.values())
    elif isinstance(feature, list):
        inner = feature
    elif hasattr(feature, "feature"):
        inner = [feature.feature]
    return any([_stop_decoding(one) for one in inner])  # every one is told


def _decoded(datasets: Any) -> list[type]:
    kinds = (getattr(datasets, name, None) for name in ("Image", "Audio", "Video"))
    return [kind for kind in kinds if kind is not None]


def _mark(info: DatasetInfo) -> str:
    """What tells a fetched part of a set from others."""
    return json.dumps([info.source, info.subset, info.split, info.hub_folder])


def _fetched() -> list[str]:
    try:
        known = json.loads((cache_dir() / "fetched.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(mark) for mark in known] if isinstance(known, list) else []


def was_fetched(info: DatasetInfo) -> bool:
    """Whether a set that lies elsewhere was fetched before."""
    return _mark(info) in _fetched()


def _remember(info: DatasetInfo) -> None:
    known, mark = _fetched(), _mark(info)
    if mark not in known:
        # Without the note a glance at the set says that it is not fetched; nothing is lost.
        with contextlib.suppress(OSError):
            write_atomic(cache_dir() / "fetched.json", json.dumps([*known, mark][-500:]))


def _prefers_modelscope() -> bool:
    return os.environ.get("USE_MODELSCOPE_HUB", "").lower() in ("1", "true", "y", "yes")


def _silent(activity: str, done: float, total: float, unit: str) -> None:
    """Progress that nobody watches."""


def _on() -> None:
    """Nobody asks to stop."""


def _why(error: BaseException) -> str:
    if type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ is not None:
        error = error.__cause__  # why the hub could not be asked
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ")


def _bad(what: str, info: DatasetInfo, hint: str) -> BadInput:
    return BadInput(Problem(what, f"dataset {info.name}", hint, "dataset"))
