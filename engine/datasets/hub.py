"""Datasets of the Hugging Face hub. Everything here may take long: never on the screen's thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets.registry import DatasetInfo


def open_hub(info: DatasetInfo, token: str | None = None) -> Any:
    """Download a hub set (once; it is kept in the hub's own cache) and return its rows.

    Raises BadInput when the hub can't be reached, or for a hub that finetui doesn't know yet.
    """
    if not info.hf_hub_url:
        raise _bad(
            f"{info.name!r} comes from {info.hub}, a source that is not here yet.",
            info,
            "Download it and give file_name, or give hf_hub_url.",
        )
    try:
        import datasets
    except ImportError:
        raise _bad("Hub sets need the package datasets.", info, "pip install datasets") from None
    try:
        return datasets.load_dataset(
            info.hf_hub_url, info.subset, split=info.split, data_dir=info.hub_folder, token=token
        )
    except FileNotFoundError:
        # `datasets` says so of a repository that is not there, and of one it may not see.
        raise _bad(
            f"There is no dataset {info.hf_hub_url} on the hub, or it can't be reached from here.",
            info,
            "Check the name and the network, or download the files and give file_name.",
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _bad(
            f"{info.hf_hub_url} could not be loaded from the hub: {reason.rstrip('.')}.",
            info,
            "Check the network, subset and split, or download the files and give file_name.",
        ) from None


def remote_registry(repo: str) -> Path:
    """The folder of a registry that lives on the hub (`dataset_dir: REMOTE:org/repo`)."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, "dataset_info.json", repo_type="dataset")).parent
    except (OSError, ValueError, RuntimeError):
        raise BadInput(
            Problem(
                f"The registry {repo} could not be fetched from the hub.",
                f"dataset_dir REMOTE:{repo}",
                "Check the name and the network, or download it and give its folder.",
                "dataset_dir",
            )
        ) from None


def _bad(what: str, info: DatasetInfo, hint: str) -> BadInput:
    return BadInput(Problem(what, f"dataset {info.name}", hint, "dataset"))
