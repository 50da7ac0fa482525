"""Memory that loading a quantised model on a CPU would leave behind: given back."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# malloc.h: the size from which glibc maps an allocation by itself.
_M_MMAP_THRESHOLD = -3
_OWN_MAPPING = 1 << 20
# Where the threshold, which grows with what is freed, ends up in any process that uses torch.
_USUAL = 32 << 20


@contextmanager
def exact_memory() -> Iterator[None]:
    """While the block runs, every larger tensor is mapped by itself and given back when freed.

    glibc can't fill the hole of a freed block of aligned memory with another of its size
    (`_int_memalign` asks for more first), and quantising layer after layer frees many alike: a
    model of half a billion weights left 1.3 GB of holes. Does nothing on other C libraries.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
    try:
        yield
    finally:
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
