"""Whether a run computes activations again, settled from the forecast before it loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.training.guards import GIB

if TYPE_CHECKING:
    from engine.config import RunConfig


def plan_checkpointing(
    config: RunConfig, folder: Path, device: str, rows: Any, longest: int
) -> tuple[bool, str]:
    """Whether to checkpoint, and the sentence that says why (empty where the settings say it).

    Activations are kept where they clearly fit into the device's memory, and also into what is
    free of it now: another program may hold the rest. What this process already holds on a CPU is
    part of the forecast.
    """
    if config.disable_gradient_checkpointing:
        return False, ""
    if not config.checkpointing_by_memory:
        return True, ""
    from engine.models import facts_of_rows, forecast, read_card
    from engine.models.memory import checkpointing_wanted
    from engine.telemetry import read_machine

    card = read_card(folder)
    facts = facts_of_rows(rows, longest)
    placed = replace(config, device=device, use_cpu=device == "cpu")
    wanted = checkpointing_wanted(card, placed, facts, read_machine())
    kept = replace(placed, disable_gradient_checkpointing=True)
    need = forecast(card, kept, facts).total
    free = free_memory(config, device)
    short = not wanted and need > free
    word = "on" if wanted or short else "off"
    return wanted or short, (
        f"Gradient checkpointing is {word}: without it the run needs about {need / GIB:.1f} GiB "
        f"for rows of {facts.longest:,} tokens; {free / GIB:.1f} GiB may be used now."
    )


def free_memory(config: RunConfig, device: str) -> int:
    """Bytes that a run may use of its device now; on a CPU with what this process holds already."""
    if device == "cpu":
        import psutil

        from engine.telemetry import memory_left

        own = int(psutil.Process().memory_info().rss)
        return memory_left() + own - int(config.memory_reserve_gb * GIB)
    import torch

    return int(torch.cuda.mem_get_info(torch.device(device))[0])
