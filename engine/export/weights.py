"""Weights read lazily, changed one by one, and written shard by shard: never two whole copies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.export.adapter import Changes
from engine.models.headers import DTYPE_BYTES, TensorInfo, read_header, weight_files
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

GIGABYTE = 1_000_000_000
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_SHORT = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_TOLD_EVERY = 0.1


@dataclass(frozen=True)
class Written:
    """One weight of the export: the stored weight it starts from, its type and shape."""

    name: str
    source: str
    info: TensorInfo

    @property
    def size(self) -> int:
        return int(self.info.elements * DTYPE_BYTES[self.info.dtype])


@dataclass(frozen=True)
class Plan:
    """All weights of the export, in order; `untied` where the head got a weight of its own."""

    folder: Path
    files: Mapping[str, Path]
    weights: Sequence[Written]
    changes: Sequence[Changes]
    untied: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(weight.size for weight in self.weights)

    @property
    def dtype(self) -> str:
        """The type that most of the bytes have, as torch names it."""
        sizes: dict[str, int] = {}
        for weight in self.weights:
            sizes[weight.info.dtype] = sizes.get(weight.info.dtype, 0) + weight.size
        most = max(sizes, key=lambda kind: sizes[kind])
        return _FLOATS.get(most, most)

    @property
    def parameters(self) -> int:
        return sum(weight.info.elements for weight in self.weights)


def stored_weights(folder: Path) -> tuple[dict[str, Path], dict[str, TensorInfo]]:
    """Which file holds each weight, and its type and shape. Raises BadInput for damaged files."""
    files: dict[str, Path] = {}
    infos: dict[str, TensorInfo] = {}
    for file in weight_files(folder):
        for name, info in read_header(file).items():
            files[name] = file
            infos[name] = info
    return files, infos


def plan(
    folder: Path,
    infer_dtype: str,
    changes: Sequence[Changes],
    head: str | None,
    embedding: str | None,
    infos: Mapping[str, TensorInfo] | None = None,
) -> Plan:
    """What is written: every stored weight, in `infer_dtype` (auto: each as it is stored).

    `head` and `embedding` name two modules' weights that are one in the base; where an adapter
    changes only one of them, or each in its own way, the head is written as a weight of its own.
    `infos` are the weights to write where they are not just the stored ones: those that an adapter
    brings whole may be new. Raises BadInput for weights that can't be added to or cast.
    """
    files, stored = stored_weights(folder)
    infos = dict(stored if infos is None else infos)
    touched = set().union(*(change.names for change in changes)) if changes else set()
    untied = head is not None and bool(touched & {head, embedding})
    if head is not None and embedding is not None:
        infos.pop(head, None)  # a tied model reads the embedding, whatever else is stored
        if untied:
            infos[head] = infos[embedding]
    weights = []
    for name, info in infos.items():
        source = embedding if name == head and embedding is not None else name
        kind = info.dtype
        if kind in _FLOATS:
            kind = _SHORT.get(infer_dtype, kind)
        elif name in touched:
            raise quantised(folder, f"{name} is stored as {kind}")
        shape = info.shape
        for change in changes:
            if name in change.replaced:
                shape = tuple(change.replaced[name].shape)
        if source not in stored:
            source = next(iter(stored))  # any: it is replaced
        weights.append(Written(name, source, TensorInfo(kind, shape)))
    return Plan(folder, files, weights, changes, untied)


def write_shards(
    wanted: Plan,
    into: Path,
    shard_bytes: int,
    device: str,
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> int:
    """Write `model.safetensors`, or shards of at most `shard_bytes` with their index.

    Returns the number of files. In memory stands one shard of the result; the base stays mapped to
    its files. `check_stop` is asked before each weight.
    """
    from huggingface_hub import split_state_dict_into_shards_factory
    from safetensors import safe_open
    from safetensors.torch import save_file

    split = split_state_dict_into_shards_factory(
        {weight.name: weight for weight in wanted.weights},
        get_storage_size=lambda weight: weight.size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    by_name = {weight.name: weight for weight in wanted.weights}
    done, told = 0, 0.0
    total = len(by_name)
    with ExitStack() as opened:
        readers = {
            file: opened.enter_context(safe_open(str(file), framework="pt"))
            for file in sorted(set(wanted.files.values()))
        }
        for number, (file_name, names) in enumerate(split.filename_to_tensors.items(), 1):
            shard: dict[str, Any] = {}
            for name in names:
                check_stop()
                if time.monotonic() - told >= _TOLD_EVERY:
                    progress("merging" if wanted.changes else "copying", done, total, "weights")
                    told = time.monotonic()
                weight = by_name[name]
                stored = readers[wanted.files[weight.source]].get_tensor(weight.source)
                shard[name] = changed(stored, weight, wanted.changes, device)
                done += 1
            check_stop()
            shards = len(split.filename_to_tensors)
            progress("writing shards", number - 1, shards, "shards")
            save_file(shard, into / file_name, metadata={"format": "pt"})
            progress("writing shards", number, shards, "shards")
    if split.is_sharded:
        index = {
            "metadata": {"total_size": wanted.size, "total_parameters": wanted.parameters},
            "weight_map": dict(sorted(split.tensor_to_filename.items())),
        }
        write_atomic(into / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
    return len(split.filename_to_tensors)


def changed(stored: Any, weight: Written, changes: Sequence[Changes], device: str) -> Any:
    """The weight as it is written: stored plus all updates, summed in fp32 and rounded once.

    Raises BadInput for a number that float16 can't hold.
    """
    import torch

    value = stored
    for change in changes:
        value = change.replaced.get(weight.name, value)
        pair = change.added.get(weight.name)
        if pair is not None:
            # A weight in float64 keeps its digits.
            value = value.to(device, torch.promote_types(value.dtype, torch.float32))
            value = value + pair.delta(device)
    kind = _FLOATS.get(weight.info.dtype)
    if kind is not None:
        rounded = value.to(getattr(torch, kind))
        if kind == "float16" and bool((rounded.isinf() & value.isfinite()).any()):
            raise _too_large(weight.name)
        value = rounded
    return value.cpu().contiguous()


def quantised(folder: Path, how: str) -> BadInput:
    """What is said of a base whose weights are no plain numbers."""
    return BadInput(
        Problem(
            f"The base's weights are quantised ({how}): they can't be merged with an adapter or "
            "cast.",
            str(folder),
            "Export with the unquantised base.",
            "model_name_or_path",
        )
    )


def _too_large(name: str) -> BadInput:
    return BadInput(
        Problem(
            f"{name} holds numbers that float16 can't.",
            "infer_dtype",
            "Export in bfloat16 or float32.",
            "infer_dtype",
        )
    )
