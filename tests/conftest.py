"""What every test stands on: no network, and a collector that looks at what a test made alone."""

from __future__ import annotations

import gc
import os

# Before huggingface_hub is imported, which reads it once: a hub that can't be reached is asked
# again for most of a minute.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest


@pytest.fixture(autouse=True, scope="module")
def _frozen_libraries() -> None:
    """Libraries and collected tests, half a million objects and more, stay to the end: looking
    over them at each collection took half of a short training run's time."""
    gc.collect()
    gc.freeze()
