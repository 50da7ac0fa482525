"""The state of every random number generator that training draws from."""

from __future__ import annotations

import random
from typing import Any


def random_state() -> dict[str, Any]:
    """In the layout of transformers' `rng_state.pth`: python, numpy, cpu and, with a GPU, cuda."""
    import numpy
    import torch

    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put every generator back to `state` (of `random_state`)."""
    import numpy
    import torch

    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    torch.random.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.random.set_rng_state(state["cuda"])
