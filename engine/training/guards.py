"""What ends a run before it does harm: a loss that is not finite, no memory, no room on disk."""

from __future__ import annotations

import errno
import math
import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.faults.device import LowMemory
from engine.problem import JobFault, Problem

GIB = 1 << 30


def check_finite(trainer: Any, loss: float, grad_norm: float | None) -> None:
    """Raise JobFault, naming the likely causes, when the step's loss or gradient is NaN or inf.

    Called before the optimiser moves the weights, so they and every checkpoint stay sound.
    """
    if math.isfinite(loss) and (grad_norm is None or math.isfinite(grad_norm)):
        return
    step = trainer.state.global_step + 1
    what = "loss" if not math.isfinite(loss) else "gradient"
    value = loss if what == "loss" else grad_norm
    suspects = _suspects(trainer)
    saved = trainer.writer.last_step
    kept = (
        f"Checkpoint {saved} is sound: change the setting and resume from it."
        if saved
        else "Nothing was saved yet: change the setting and start again."
    )
    raise JobFault(
        Problem(
            f"The {what} of step {step} is {value}, not a finite number.",
            where=f"step {step}",
            hint=f"Likely causes, in this order: {suspects}. {kept}",
            setting="learning_rate",
        )
    )


def _suspects(trainer: Any) -> str:
    args = trainer.args
    causes = []
    if args.fp16:
        causes.append("fp16 overflows on models that were trained in bf16 (use bf16 or fp32)")
    causes.append(f"the learning rate {args.learning_rate:g} is too high (try a tenth)")
    if not args.max_grad_norm:
        causes.append("gradients are not clipped (set max_grad_norm to 1.0)")
    causes.append("rows without a single trained token (look at the token view)")
    causes.append("damaged weights (the first step fails then)")
    return "; ".join(causes)


class MemoryWatch:
    """Watches the memory that is left, and ends the run before the kernel ends the process.

    A thread reads `memory_left` (bytes, the container's limit included) five times a second; the
    run asks `check` between micro-batches and before each decoder layer, which costs a look at a
    flag. `reserve` is in bytes.
    """

    def __init__(self, memory_left: Callable[[], int], reserve: int, interval: float = 0.2) -> None:
        self._memory_left = memory_left
        self._reserve = reserve
        self._interval = interval
        self._low: int | None = None
        self._end = threading.Event()
        self._hooks: list[Any] = []
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def start(self, layers: Any = ()) -> None:
        """Begin to watch; `layers` are modules that get a check before their forward pass."""
        for layer in layers:
            self._hooks.append(layer.register_forward_pre_hook(lambda *_: self.check()))
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def check(self) -> None:
        """Raise LowMemory once memory was below the reserve."""
        if self._low is None:
            return
        raise LowMemory(
            Problem(
                f"Only {self._low / GIB:.2f} GiB of memory is left, less than the "
                f"{self._reserve / GIB:.2f} GiB that must stay free; the run was ended before "
                "the system would have killed the whole program.",
                where="memory",
                hint="Lower per_device_train_batch_size (and raise gradient_accumulation_steps), "
                "lower cutoff_len, leave disable_gradient_checkpointing off, or take a smaller "
                "model. Earlier checkpoints are untouched.",
                setting="per_device_train_batch_size",
            )
        )

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            left = self._memory_left()
            if left < self._reserve:
                self._low = left
                return


def no_room(folder: Path, needed: int, free: int) -> JobFault:
    """The fault of a disk that can't take a checkpoint of `needed` bytes."""
    return JobFault(
        Problem(
            f"The disk is full: a checkpoint needs about {needed / 1e6:,.0f} MB, "
            f"{free / 1e6:,.0f} MB are free.",
            where=str(folder),
            hint="Free some space, or set save_total_limit, save_only_model or a larger "
            "save_steps; then resume. Earlier checkpoints are untouched.",
            setting="save_total_limit",
        )
    )


def check_room(folder: Path, needed: int) -> None:
    """Raise JobFault when `folder`'s disk has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise no_room(folder, needed, free)


def refused_write(folder: Path, needed: int) -> JobFault:
    """The fault of a checkpoint that could not be written, and why.

    Where a disk that has room refuses all the same, a limit on what may be written was reached:
    torch's own writer does not tell which.
    """
    free = shutil.disk_usage(folder).free
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if free >= needed and largest != resource.RLIM_INFINITY:
        return JobFault(
            Problem(
                f"A file may not be larger than {largest / 1e6:,.1f} MB here (ulimit -f), and the "
                "checkpoint has one that is.",
                where=str(folder),
                hint="Run `ulimit -f unlimited`, or ask who set the limit; then resume. Earlier "
                "checkpoints are untouched.",
            )
        )
    return no_room(folder, needed, free)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_TEXTS = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    os.strerror(errno.EFBIG),
    "os error 28",  # safetensors passes the number on
    "os error 122",
    "os error 27",
    # torch's zip writer says no more than this; the second comes from closing its half file
    "PytorchStreamWriter failed writing",
    "inline_container.cc",
)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that nothing more can be written."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if any(text in str(seen) for text in _FULL_TEXTS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
