"""Whether the Hugging Face hub answers at all, asked before its libraries ask for a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SILENCE_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_offline = threading.Lock()


@contextmanager
def hub_or_cache(check_stop: Callable[[], object]) -> Iterator[Exception | None]:
    """Yields None where the hub answers (or HF_HUB_OFFLINE forbids to ask it), else
    why it does not; while the block runs nobody asks it then, and only the cache is looked at.

    `datasets` and huggingface_hub ask six times for each file that they look for: that a hub is
    not there would be told after most of a minute, in which nothing stops them.
    """
    away = _why_away(check_stop)
    if away is None:
        yield None
        return
    # The libraries keep this for the whole process, so one block waits for another.
    with _offline:
        before = [(module, module.HF_HUB_OFFLINE) for module in _switches()]
        try:
            for module, _ in before:
                module.HF_HUB_OFFLINE = True
            yield away
        finally:
            for module, switch in before:
                module.HF_HUB_OFFLINE = switch


def _why_away(check_stop: Callable[[], object]) -> Exception | None:
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return None
    away: Exception | None = None
    for attempt in range(2):
        check_stop()
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            get_session().head(constants.ENDPOINT, timeout=_SILENCE_SECONDS)
        except httpx2.TransportError as error:
            away = error
        else:
            return None
    return away


def _switches() -> list[Any]:
    import datasets.config
    import huggingface_hub.constants

    return [datasets.config, huggingface_hub.constants]
