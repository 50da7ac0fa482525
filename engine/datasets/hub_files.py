"""The files of a Hugging Face set, fetched with their progress told, before `datasets` reads them.

They go where that package looks for them: huggingface_hub's own cache. So it fetches nothing twice,
and what it would have fetched silently is told, and can be stopped between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.datasets.registry import DatasetInfo

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
    total, before = sum(sizes), 0
    for place, size in zip(places, sizes, strict=True):
        check_stop()
        progress(f"Fetching {repo}", before, total, "bytes")

        def told(done: int, base: int = before) -> None:
            check_stop()
            progress(f"Fetching {repo}", base + done, total, "bytes")

        huggingface_hub.hf_hub_download(
            place.repo_id,
            place.path_in_repo,
            repo_type="dataset",
            revision=place.revision,
            token=token,
            endpoint=datasets.config.HF_ENDPOINT,
            tqdm_class=_teller(told),
        )
        before += size
    progress(f"Fetching {repo}", total, total, "bytes")


def _teller(told: Callable[[int], None]) -> Any:
    """A progress bar's class that draws nothing and tells the bytes so far."""
    from huggingface_hub.utils import tqdm

    class Told(tqdm):  # type: ignore[type-arg,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self._done = int(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            told(self._done)
            return None

    return Told
