"""What is installed, told by looking for it: nothing is imported."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

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
    """Whether the installed torch can't use a GPU, by its version alone ("2.13.0+cpu").

    Read from the file that torch itself takes it from: importlib.metadata brings email and zipfile
    along, which the screen's first frame would wait for.
    """
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return True
    text = (Path(torch.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(r"^__version__ = '([^']*)'", text, re.MULTILINE)
    return found is not None and found[1].endswith("+cpu")
