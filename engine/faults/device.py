"""Memory, the GPU, numbers that are not finite, worker processes that died."""

from __future__ import annotations

import errno
import re

from engine.faults.chain import chain, errno_of, first_line, names_of
from engine.problem import JobFault, Problem

_LESS_MEMORY = (
    "Halve per_device_train_batch_size and double gradient_accumulation_steps, lower cutoff_len, "
    "or choose lora with a smaller rank."
)
# After one of these every further call into CUDA fails in this process.
_POISON = re.compile(
    r"device-side assert|illegal memory access|unspecified launch failure|misaligned address"
    r"|illegal instruction|hardware stack error|uncorrectable|launch timed out"
    r"|CUBLAS_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)|CUDNN_STATUS_(EXECUTION|INTERNAL)",
    re.IGNORECASE,
)


class LowMemory(JobFault):
    """The machine's memory went below what must stay free; raised by a run's own guard."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the GPU's, the machine's, or a run's guard said so in time."""
    return any(
        isinstance(link, LowMemory) or gpu_memory(link) is not None or cpu_memory(link) is not None
        for link in chain(error)
    )


def poisons_device(error: BaseException) -> bool:
    """Whether CUDA is unusable in this process from now on."""
    return any(is_cuda(link) and _POISON.search(str(link)) for link in chain(error))


def is_cuda(error: BaseException) -> bool:
    if names_of(error) & {"OutOfMemoryError", "AcceleratorError"}:
        return True
    return bool(re.search(r"\bCUDA\b|CUBLAS|CUDNN|\bNCCL\b", str(error)))


def gpu_memory(error: BaseException) -> Problem | None:
    text = str(error)
    named = "OutOfMemoryError" in names_of(error)
    if not named and not re.search(r"(CUDA|HIP).{0,20}out of memory|CUBLAS_STATUS_ALLOC", text):
        return None
    asked = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
    total = re.search(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", text)
    gpu = re.search(r"GPU (\d+)", text)
    figures = [f"{asked.group(1)} more were asked for"] if asked else []
    if total:
        figures.append(f"{total.group(2)} of {total.group(1)} were free")
    return Problem(
        "The GPU ran out of memory" + (f" ({', '.join(figures)})." if figures else "."),
        where=f"GPU {gpu.group(1)}" if gpu else "",
        hint=_LESS_MEMORY,
        setting="per_device_train_batch_size",
    )


def cpu_memory(error: BaseException) -> Problem | None:
    text = str(error)
    match = re.search(r"can't allocate memory: you tried to allocate (\d+) bytes", text)
    if match is None and not isinstance(error, MemoryError) and errno_of(error) != errno.ENOMEM:
        return None
    asked = f" ({int(match.group(1)) / 1e9:.1f} GB more were asked for)" if match else ""
    return Problem(
        f"The machine ran out of memory{asked}.",
        hint=_LESS_MEMORY,
        setting="per_device_train_batch_size",
    )


def broken_device(error: BaseException) -> Problem | None:
    text = str(error)
    if re.search(r"Found no NVIDIA driver|driver version is insufficient|no CUDA GPUs", text):
        return Problem(
            "The GPU can't be used: " + first_line(error),
            hint="Check the driver with nvidia-smi, or set use_cpu to train without it.",
            setting="use_cpu",
        )
    if "no kernel image is available" in text or "not compatible with the current PyTorch" in text:
        return Problem(
            "This torch was not built for this GPU.",
            hint="Install a torch whose CUDA build knows the card, or set use_cpu.",
            setting="use_cpu",
        )
    if not is_cuda(error):
        return None
    if _POISON.search(text):
        return Problem(
            "The GPU stopped with an error it can't recover from: " + first_line(error),
            hint="Leave finetui and start it again, then resume from the last checkpoint. A token "
            "id beyond the vocabulary (tokenizer of another model) is the usual cause.",
        )
    if "AcceleratorError" in names_of(error) or "CUDA error" in text:
        return Problem(
            "The GPU reported an error: " + first_line(error),
            hint="Leave finetui and start it again; look at nvidia-smi if it comes back.",
        )
    return None


def not_finite(error: BaseException) -> Problem | None:
    if not isinstance(error, FloatingPointError) and "contains either `inf`, `nan`" not in str(
        error
    ):
        return None
    return Problem(
        "The model computed numbers that are not finite (NaN or infinity).",
        hint="Lower learning_rate, use bf16 or fp32 in place of fp16, or choose an earlier "
        "checkpoint.",
        setting="learning_rate",
    )


def loader_died(error: BaseException) -> Problem | None:
    text = str(error)
    if "shared memory" in text or "Bus error" in text:
        return Problem(
            "The data loader ran out of shared memory (/dev/shm).",
            hint="Set dataloader_num_workers to 0, or give the container more (--shm-size).",
            setting="dataloader_num_workers",
        )
    if re.search(r"DataLoader worker .*(exited unexpectedly|killed by signal)", text) or (
        "BrokenProcessPool" in names_of(error)
    ):
        return Problem(
            "A data worker process was killed, most often because memory ran out.",
            hint="Lower dataloader_num_workers or preprocessing_num_workers.",
            setting="dataloader_num_workers",
        )
    return None
