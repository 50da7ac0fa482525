"""`finetui doctor`: what this machine has, and what finetui makes of it."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterator

from engine.cli.output import output, visible
from engine.cli.words import memory, size
from engine.installed import install_command

_LIBRARIES = (
    "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes", "tokenizers",
    "textual", "rich", "gguf",
)  # fmt: skip


def doctor() -> int:
    """Print versions, device, precision, memory, disk, extras and the terminal's abilities."""
    out = output()
    out.divert()
    sections = (
        ("finetui", _versions),
        ("machine", _machine),
        ("torch", _torch),
        ("model and folders", _places),
        ("extras", _extras),
        ("terminal", _terminal),
    )
    for title, facts in sections:
        out.say(title)
        for name, value in facts():
            out.say(f"  {name:<18}{visible(value)}")
    return 0


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions() -> Iterator[tuple[str, str]]:
    from engine import __version__

    yield "finetui", __version__
    yield "python", f"{platform.python_version()} ({sys.executable})"
    for name in _LIBRARIES:
        yield name, _version(name)


def _machine() -> Iterator[tuple[str, str]]:
    from engine.telemetry import memory_left, read_machine

    machine = read_machine()
    quota = f", container limit {machine.cpu_quota:g}" if machine.cpu_quota else ""
    yield "processor", f"{machine.cpu}, {machine.cores} cores{quota}"
    yield "bf16 on it", "in hardware" if machine.cpu_bf16 else "no: fp32 is used"
    limit = " (container limit)" if machine.ram_limited else ""
    yield "memory", f"{memory(machine.ram_total)}{limit}, {memory(memory_left())} free"
    yield "disk here", f"{size(machine.disk_free)} free of {size(machine.disk_total)}"
    if not machine.gpus:
        yield "GPU", "none seen by the NVIDIA driver"
    for gpu in machine.gpus:
        capability = ".".join(map(str, gpu.capability)) if gpu.capability else "–"
        yield f"GPU {gpu.index}", f"{gpu.name}, {memory(gpu.total)}, compute {capability}"


def _torch() -> Iterator[tuple[str, str]]:
    """Imports torch: the one thing that tells what it was built for."""
    try:
        import torch
    except Exception as error:  # a broken install is what a doctor is for
        from engine.faults import explain

        yield "torch", explain(error).what
        return
    yield "built for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    from engine.config import defaults_for_form
    from engine.models.device import choose_device
    from engine.models.precision import choose_precision

    config = defaults_for_form()
    device = choose_device(config)
    yield "device chosen", device
    yield "precision chosen", choose_precision(config, device).name
    yield "CPU threads", str(torch.get_num_threads())


def _places() -> Iterator[tuple[str, str]]:
    from engine.datasets.media.embedded import media_in_words
    from engine.datasets.token_cache import kept_in_words
    from engine.models.demo import demo_ready
    from engine.paths import cache_dir, default_dataset_dir, saves_dir, state_dir

    yield "demo model", "ready" if demo_ready() else "fetched at its first use"
    yield "datasets", str(default_dataset_dir().absolute())
    yield "runs", str(saves_dir().absolute())
    yield "cache", str(cache_dir())
    yield "kept tokens", kept_in_words()
    yield "kept media", media_in_words()
    yield "log and state", str(state_dir())
    token = any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    yield "hub token", "set in the environment" if token else "not set in the environment"


def _extras() -> Iterator[tuple[str, str]]:
    """The optional packages that finetui declares, each with its version or how to get it."""
    try:
        metadata = importlib.metadata.metadata("finetui")
    except importlib.metadata.PackageNotFoundError:
        yield "–", "finetui runs from a checkout that is not installed"
        return
    for extra in metadata.get_all("Provides-Extra") or []:
        wanted = [
            line.split(";")[0].strip()
            for line in importlib.metadata.requires("finetui") or []
            if f"extra == '{extra}'" in line or f'extra == "{extra}"' in line
        ]
        names = [_bare(line) for line in wanted]
        missing = [name for name in names if _version(name) == "not installed"]
        yield extra, "installed" if not missing else install_command(extra)


def _bare(requirement: str) -> str:
    """The distribution's name in a requirement line."""
    for index, char in enumerate(requirement):
        if not (char.isalnum() or char in "-_."):
            return requirement[:index]
    return requirement


def _terminal() -> Iterator[tuple[str, str]]:
    columns, rows = shutil.get_terminal_size()
    yield "size", f"{columns}×{rows}"
    yield "TERM", os.environ.get("TERM") or "not set"
    colours = os.environ.get("COLORTERM", "")
    yield "colours", "true colour" if colours in ("truecolor", "24bit") else "256 or fewer"
    yield "encoding", locale.getpreferredencoding(False)
    inside = [name for name, key in (("tmux", "TMUX"), ("screen", "STY"), ("SSH", "SSH_TTY"))
              if os.environ.get(key)]  # fmt: skip
    yield "inside", ", ".join(inside) or "no tmux, screen or SSH"
