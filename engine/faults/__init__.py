"""Any exception -> one sentence, a place, and what to do: no library is imported to explain one."""

from __future__ import annotations

from engine.faults.device import is_out_of_memory, poisons_device
from engine.faults.explain import explain, forget_frames, is_bad_input

__all__ = ["explain", "forget_frames", "is_bad_input", "is_out_of_memory", "poisons_device"]
