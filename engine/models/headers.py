"""The headers of safetensors files: names, types and shapes of tensors, read without torch.

Layout (github.com/huggingface/safetensors): eight bytes little-endian length, that many bytes of
JSON, then the data. A file that was cut short or never finished is found by its size alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from engine.problem import BadInput, Problem

# As the format's own library: a longer header is an attack or not a safetensors file.
_LONGEST_HEADER = 100_000_000

DTYPE_BYTES: dict[str, float] = {
    "F64": 8, "I64": 8, "U64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: its type by the format's name (BF16, F32, …) and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        product = 1
        for size in self.shape:
            product *= size
        return product


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Tensors of one file by name. Raises `BadInput` for a damaged, cut or foreign file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise _damaged(file, "its header is cut short or is not a header")
            raw = stream.read(length)
    except OSError as error:
        raise BadInput(
            Problem(f"The weights can't be read: {error.strerror}.", str(file), "Check the file.")
        ) from error
    try:
        content = json.loads(raw)
        entries = {name: entry for name, entry in content.items() if name != "__metadata__"}
        tensors = {
            name: TensorInfo(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in entries.items()
        }
        ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(file, "its header can't be read") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise _damaged(file, f"it has {size:,} bytes where its header promises {expected:,}")
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files a model folder is loaded from (some may be missing on disk).

    Raises `BadInput` where the shard index can't be read.
    """
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise BadInput(
                Problem(
                    "The index of the model's shards can't be read.",
                    str(index),
                    "Copy or download the model again.",
                )
            ) from error
        # A name with a folder in it would lead out of the model: only plain names are shards.
        return [folder / name for name in sorted({Path(str(name)).name for name in shards})]
    return []


def read_tensors(folder: Path) -> dict[str, TensorInfo]:
    """All stored tensors of a model folder, over its shards."""
    tensors: dict[str, TensorInfo] = {}
    for file in weight_files(folder):
        tensors.update(read_header(file))
    return tensors


def _damaged(file: Path, how: str) -> BadInput:
    return BadInput(
        Problem(
            f"The weights in {file.name} are damaged: {how}.",
            str(file),
            "The copy or download probably broke off: fetch this file again.",
        )
    )
