"""What is installed, told by looking for it: nothing is imported."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

# What each extra that a setting needs brings, by the names of the modules.
_MODULES = {
    "galore": ("galore_torch",),
    "apollo": ("apollo_torch",),
    "badam": ("badam",),
    "adam-mini": ("adam_mini",),
    "liger": ("liger_kernel",),
    "fp8": ("torchao",),
    "video": ("av",),
    "sound": ("soundfile", "soxr"),
    "swanlab": ("swanlab",),
    "trackio": ("trackio",),
}


def has_extra(extra: str) -> bool:
    """Whether what an extra of this project brings is installed."""
    return all(map(is_installed, _MODULES[extra]))


@cache
def is_installed(module: str) -> bool:
    """Whether a top-level module can be imported."""
    return find_spec(module) is not None


def install_command(extra: str) -> str:
    """What brings an extra of this project (pip takes the names from what is installed)."""
    return f"pip install 'finetui[{extra}]'"


@cache
def torch_is_for_cpus() -> bool:
    """Whether the installed torch can't use a GPU, by its version alone ("2.13.0+cpu")."""
    from importlib import metadata  # late: it brings email and zipfile

    try:
        return metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return True
