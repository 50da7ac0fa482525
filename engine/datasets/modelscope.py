"""Sets of ModelScope, by its own client (`modelscope-hub`, the extra `modelscope`).

The client lists and opens the files; they lie where its own cache has them, and the package
`datasets` reads them there as it reads a repository of the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.datasets.fetching import LineBroke, Stream, fetch_file
from engine.datasets.files import SUFFIXES
from engine.datasets.index.packed import inner_suffix
from engine.installed import install_command
from engine.modelscope import MASTER, ms_cache_dir, ms_endpoint, ms_installed
from engine.problem import BadInput, FinetuiError, Problem, Stopped

# Small pieces: what a break cuts off from one is lost.
_PIECE = 1 << 14
# The card tells which files make up which subset and split.
_CARD = "README.md"


def fetch_dataset(
    repo: str,
    folder: str | None,
    token: str | None,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> Path:
    """Fetch a repository's files of rows (those below `folder`, where one is given) and its card;
    returns the folder that holds them. What is there already is not fetched again.

    `token` None takes MODELSCOPE_API_TOKEN or the client's own login. Raises BadInput.
    """
    if not ms_installed():
        raise _bad(
            repo,
            "ModelScope sets need the package modelscope-hub.",
            install_command("modelscope"),
        )
    import modelscope_hub

    api = modelscope_hub.HubApi(token=token, endpoint=ms_endpoint())
    root = ms_cache_dir() / "datasets" / repo.replace("/", "--") / "snapshots" / MASTER
    try:
        files = [
            entry
            for entry in api.list_repo_files(repo, "dataset", revision=MASTER)
            if not entry.is_dir and _wanted(entry.path, folder)
        ]
        rows = [entry for entry in files if entry.path != _CARD]
        if not rows:
            place = f" in its folder {folder}" if folder else ""
            raise _bad(repo, f"{repo} holds no files of rows{place}.", "Look at it on the hub.")
        total = sum(entry.size for entry in files)
        before = 0
        for entry in files:
            check_stop()
            target = (root / entry.path).resolve()
            if root.resolve() not in target.parents:
                raise _bad(repo, f"{repo} has a file outside itself: {entry.path}.", "Shun it.")

            def told(done: int, base: int = before) -> None:
                progress(f"Fetching {repo}", base + done, total, "bytes")

            def open_at(start: int, path: str = entry.path) -> Any:
                return _opened(api, repo, path, start)

            fetch_file(target, entry.size, open_at, told, check_stop, entry.sha256 or "")
            before += entry.size
    except (FinetuiError, Stopped):
        raise
    except modelscope_hub.NotExistError:
        raise _bad(repo, f"ModelScope has no dataset {repo}.", "Check its spelling.") from None
    except (modelscope_hub.AuthenticationError, modelscope_hub.PermissionDeniedError):
        raise _bad(
            repo,
            f"{repo} is gated or private on ModelScope.",
            f"Ask for access on {ms_endpoint()}/datasets/{repo}, then set MODELSCOPE_API_TOKEN.",
        ) from None
    except (modelscope_hub.HubError, LineBroke, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _bad(
            repo,
            f"{repo} could not be fetched from ModelScope: {lines[0].rstrip('.')}.",
            "Check the network; what came is kept, and the next try goes on from there. "
            "MODELSCOPE_ENDPOINT names a mirror.",
        ) from None
    return root


def _wanted(path: str, folder: str | None) -> bool:
    if path == _CARD:
        return True
    if folder and not path.startswith(folder.strip("/") + "/"):
        return False
    # Its own index of the repository is no set.
    return inner_suffix(Path(path)) in SUFFIXES and Path(path).name != "dataset_infos.json"


@contextmanager
def _opened(api: Any, repo: str, path: str, start: int) -> Iterator[Stream]:
    import modelscope_hub as ms
    import requests

    # Compressed on its way, a file could not be gone on from.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        answer = api.legacy.download_stream(repo, "dataset", path, MASTER, headers=headers)
        with answer:
            yield Stream(answer.status_code != 206, answer.iter_content(_PIECE))
    except (ms.NetworkError, ms.ServerError, ms.RateLimitError, requests.RequestException) as error:
        raise LineBroke(str(error)) from error


def _bad(repo: str, what: str, hint: str) -> BadInput:
    return BadInput(Problem(what, f"dataset {repo}", hint, "dataset"))
