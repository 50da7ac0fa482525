"""Memory that quantised weights on a CPU would leave behind unused: given back."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# malloc.h: the size from which glibc maps an allocation by itself, and what it is at first.
_M_MMAP_THRESHOLD = -3
_OWN_MAPPING = 128 << 10
# Where the threshold, which grows with what is freed, ends up in any process that uses torch.
_USUAL = 32 << 20


_lock = threading.Lock()
_inside = 0


@contextmanager
def exact_memory(wanted: bool = True) -> Iterator[None]:
    """While the block runs every larger tensor is mapped by itself and given back when freed.

    glibc can't fill the hole of a freed block of aligned memory with another of its size
    (`_int_memalign` asks for more first). Layers of fewer bits are unpacked in every pass, and what
    they free would lie between the activations: with half a billion weights 1 GB of holes, and 1.3
    more from quantising them. It costs some time, which beside the unpacking is little. May be
    entered within itself. Does nothing on other C libraries.
    """
    global _inside
    libc = _glibc() if wanted else None
    if libc is None:
        yield
        return
    with _lock:
        _inside += 1
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                libc.mallopt(_M_MMAP_THRESHOLD, _USUAL)
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def let_file_go(model: Any) -> None:
    """Copy what is still mapped of a model whose linear layers were quantised.

    Its embeddings and norms alone would keep the whole file mapped, every page of it resident since
    the layers were read from there: on a CPU as much memory as the unquantised model.
    """
    import torch

    for weight in model.parameters():
        # Packed weights have a class of their own, and memory of their own.
        if type(weight) is torch.nn.Parameter and weight.device.type == "cpu":
            weight.data = weight.data.clone()
