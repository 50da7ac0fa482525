"""Adapters that only peft can merge, DoRA for one: the whole model in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.export.tied import untie
from engine.models.blocks import KEY, read_expansion
from engine.models.folder import read_json
from engine.models.inference import Sources
from engine.models.load import attach_adapters, load_model
from engine.models.precision import Precision, torch_dtype
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

if TYPE_CHECKING:
    from engine.config import RunConfig

_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Merged:
    """What came of it: the type written, the number of files, whether the head stands alone, and
    what config.json says of the blocks where an adapter brought new ones."""

    dtype: str
    shards: int
    untied: bool
    blocks: dict[str, Any]


def merge_whole(
    config: RunConfig,
    sources: Sources,
    dtype: str,
    into: Path,
    shard_bytes: int,
    device: str,
    touches_tied: bool,
    head: Literal["language", "score"],
    progress: Callable[[str, float, float, str], None],
    check_stop: Callable[[], object],
) -> Merged:
    """Load the base in fp32, let peft merge, round once to `dtype`, and save.

    Needs the memory of the model in fp32. `touches_tied` tells that the adapter changes a head or
    an embedding that share a weight; `head` is the model's. Raises BadInput for an adapter that
    can't be merged at all.
    """
    progress("loading the model", 0, 3, "parts")
    precision = Precision("fp32", "fp32", None, "fp32")
    # An adapter trained on few bits is merged into the weights that they were made from.
    config = replace(config, quantization_bit=None)
    model: Any = load_model(
        sources.folder, config, precision, device, False, head, sources.adapters
    )
    if touches_tied:
        untie(model)
    check_stop()
    progress("merging", 1, 3, "parts")
    model = attach_adapters(model, list(sources.adapters), precision, trainable=False)
    try:
        model = model.merge_and_unload(safe_merge=True)
    except (AttributeError, ValueError, NotImplementedError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            Problem(
                f"peft can't merge this adapter into its base: {first.rstrip('.')}.",
                str(sources.adapters[-1]),
                "Keep it as an adapter: chat and evaluate take it as it is.",
                "adapter_name_or_path",
            )
        ) from error
    check_stop()
    model = model.to(torch_dtype(_NAMES[dtype]))
    progress("writing shards", 2, 3, "parts")
    model.save_pretrained(str(into), max_shard_size=shard_bytes)
    progress("writing shards", 3, 3, "parts")
    shards = [p for p in into.iterdir() if re.fullmatch(r"model.*\.safetensors", p.name)]
    return Merged(dtype, len(shards), touches_tied, _blocks(model, sources))


def describe_blocks(folder: Path, blocks: dict[str, Any]) -> None:
    """Say in the export's config.json how many blocks it has, where an adapter brought new ones."""
    file = folder / "config.json"
    config = read_json(file)
    inner = config.get("text_config")
    (inner if isinstance(inner, dict) else config).update(blocks)
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    write_atomic(file, text + "\n")


def _blocks(model: Any, sources: Sources) -> dict[str, Any]:
    if not any(read_expansion(adapter) for adapter in sources.adapters):
        return {}
    config = model.config.get_text_config()
    return {
        key: value
        for key, value in config.to_dict().items()
        if key in ("num_hidden_layers", KEY) or ("layer" in key and isinstance(value, list))
    }
