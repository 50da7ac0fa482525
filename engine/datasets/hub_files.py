"""The files of a Hugging Face set, fetched with their progress told, before `datasets` reads them.

They go where that package looks for them: huggingface_hub's own cache. So it fetches nothing twice,
and what it would have fetched silently is told, and can be stopped between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.datasets.dataset_info import DatasetInfo

_HUB = "hf://datasets/"


def fetch_files(
    info: DatasetInfo,
    repo: str,
    token: str | None,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> None:
    """Fetch the files of `subset` and `folder` that are not there yet.

    Raises what `datasets` and huggingface_hub raise where the hub can't be asked.
    """
    import datasets
    import huggingface_hub

    builder = datasets.load_dataset_builder(
        repo, info.subset, data_dir=info.hub_folder, token=token
    )
    if Path(builder.cache_dir).is_dir():
        return  # made before of these very files
    named = getattr(builder.config, "data_files", None) or {}
    paths = [str(path) for files in named.values() for path in files]
    paths = [path for path in dict.fromkeys(paths) if path.startswith(_HUB)]
    if not paths:
        return
    hub = huggingface_hub.HfFileSystem(endpoint=datasets.config.HF_ENDPOINT, token=token)
    places: list[Any] = [hub.resolve_path(path) for path in paths]
    sizes: list[int] = []
    for path in paths:
        check_stop()
        sizes.append(int(hub.info(path).get("size") or 0))
    fetch = _Fetch(repo, token, datasets.config.HF_ENDPOINT, progress, check_stop)
    fetch.all([(p.path_in_repo, p.revision, size) for p, size in zip(places, sizes, strict=True)])


def fetch_beside(
    repo: str,
    name: str,
    token: str | None,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> Path:
    """Fetch the file `name` of a repository, or the files of that folder; returns the folder that
    holds the repository. Raises what huggingface_hub raises."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    fetch = _Fetch(repo, token, None, progress, check_stop)
    try:
        path = fetch.one(name, None, 0, 0)
        return path.parents[len(Path(name).parts) - 1]
    except EntryNotFoundError:
        tree = huggingface_hub.HfApi(token=token).list_repo_tree(
            repo, name, recursive=True, repo_type="dataset"
        )
        files = [(one.path, None, int(getattr(one, "size", None) or 0)) for one in tree
                 if hasattr(one, "size") and one.path.startswith(f"{name}/")]  # fmt: skip
        if not files:
            raise
        return fetch.all(files)


class _Fetch:
    """Files of one repository, one after the other, into huggingface_hub's cache."""

    def __init__(
        self,
        repo: str,
        token: str | None,
        endpoint: str | None,
        progress: Callable[[str, float, float, str], None],
        check_stop: Callable[[], object],
    ) -> None:
        self._repo = repo
        self._options: dict[str, Any] = {"repo_type": "dataset", "token": token}
        if endpoint is not None:
            self._options["endpoint"] = endpoint
        self._progress = progress
        self._check_stop = check_stop

    def all(self, files: Sequence[tuple[str, str | None, int]]) -> Path:
        """Fetch files of (path, revision, bytes); returns the folder that holds the repository."""
        total, before, path = sum(size for _, _, size in files), 0, Path()
        for name, revision, size in files:
            path = self.one(name, revision, before, total)
            before += size
        self._told(total, total)
        return path.parents[len(Path(files[-1][0]).parts) - 1]

    def one(self, name: str, revision: str | None, before: int, total: int) -> Path:
        """Fetch one file, behind which `before` of all `total` bytes are there; total 0: it alone
        is all there is."""
        import huggingface_hub

        def told(done: int, size: int) -> None:
            self._check_stop()
            self._told(before + done, total or size)

        self._check_stop()
        self._told(before, total)
        return Path(
            huggingface_hub.hf_hub_download(
                self._repo, name, revision=revision, tqdm_class=_teller(told), **self._options
            )
        )

    def _told(self, done: int, total: int) -> None:
        self._progress(f"Fetching {self._repo}", done, total, "bytes")


def _teller(told: Callable[[int, int], None]) -> Any:
    """A progress bar's class that draws nothing and tells the bytes so far, and of how many."""
    from huggingface_hub.utils import tqdm

    class Told(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self._done = int(kwargs.get("initial") or 0)
            self._all = int(kwargs.get("total") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            told(self._done, self._all)
            return None

    return Told
