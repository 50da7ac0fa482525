"""Downloads from the Hugging Face hub: safetensors, configs and tokenizer files only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.models.hub_cache import hub_cache_dir
from engine.problem import BadInput, FinetuiError, JobFault, Problem, Stopped

Progress = Callable[[str, float, float, str], None]

_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
# Subfolders hold other formats (onnx, original, gguf); `consolidated` is the same weights twice.
_UNWANTED = ["*/*", "consolidated*"]


def download_model(
    model: str,
    revision: str,
    cache_dir: str | None,
    token: str | None,
    with_code: bool,
    local_choices: list[str],
    progress: Progress,
    check_stop: Callable[[], object],
) -> Path:
    """Fetch the hub model `model` into the cache and return its folder.

    `with_code` also brings the model's own Python files (only with trust_remote_code).
    `local_choices` are named where the hub can't be reached. Raises `BadInput` for a wrong name or
    revision, a gated or private model, or one without safetensors; `JobFault` for a network fault.
    """
    # Here, as importing the hub library takes a third of a second.
    from huggingface_hub import HfApi, snapshot_download

    activity = f"Downloading {model}"
    progress(activity, 0, 0, "bytes")
    try:
        info = HfApi(token=token).model_info(model, revision=revision)
        names = [entry.rfilename for entry in info.siblings or []]
        if not any(name.endswith(".safetensors") and "/" not in name for name in names):
            raise BadInput(_no_safetensors(model, names))
        folder = snapshot_download(
            model,
            revision=revision,
            cache_dir=str(hub_cache_dir(cache_dir)),
            token=token,
            allow_patterns=[*_WANTED, "*.py"] if with_code else _WANTED,
            ignore_patterns=_UNWANTED,
            tqdm_class=_reporting_bar(activity, progress, check_stop),
        )
    except (FinetuiError, Stopped):
        raise
    except Exception as error:
        # Every library below the hub's has its own errors; each becomes one sentence.
        raise _told(error, model, revision, local_choices) from error
    return Path(folder)


def _reporting_bar(activity: str, progress: Progress, check_stop: Callable[[], object]) -> Any:
    """A tqdm class that draws nothing, hands bytes to `progress` and lets a stop through."""
    from tqdm import tqdm

    lock = threading.Lock()

    class ReportingBar(tqdm):  # type: ignore[misc]
        done = 0.0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B" and str(
                kwargs.get("desc", "")
            ).startswith("Reconstructing")
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> None:
            check_stop()
            if self.counts_bytes:
                with lock:
                    self.done += n or 0
                    progress(activity, self.done, float(self.total or 0), "bytes")

    return ReportingBar


def _no_safetensors(model: str, names: list[str]) -> Problem:
    pickled = any(name.endswith((".bin", ".pt", ".pth")) for name in names)
    why = "only pickled weights, which can run code when loaded" if pickled else "no safetensors"
    return Problem(
        f"{model} has {why}.",
        f"huggingface.co/{model}",
        "Look for a safetensors version (a pull request or branch of it: set model_revision).",
        "model_name_or_path",
    )


def _told(error: Exception, model: str, revision: str, local_choices: list[str]) -> FinetuiError:
    from huggingface_hub import errors

    where = f"huggingface.co/{model}"
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
    return JobFault(
        Problem(
            f"The hub can't be reached, so {model} could not be fetched ({_short(error)}).",
            where,
            "Check the network, HF_ENDPOINT and proxy. " + choices_hint(local_choices),
            "model_name_or_path",
        )
    )


def choices_hint(local_choices: list[str]) -> str:
    """What can be used without a network, in words."""
    return f"On this machine there are: {', '.join(local_choices[:8])}."


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
