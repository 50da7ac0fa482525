"""A reward model's export: base, adapters and head as one folder of sequence classification."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.export.adapter import Changes
from engine.models.architecture import is_output_layer
from engine.models.headers import TensorInfo
from engine.models.score_head import SCORE, holds_head, is_reward_model
from engine.models.value_head import read_value_head, write_value_head
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.models.inference import Sources

WEIGHT = f"{SCORE}.weight"


@dataclass(frozen=True)
class Head:
    """The head of the export: weight (1, hidden) and, from tools that have one, a bias (1,)."""

    weight: Any
    bias: Any = None


def scores(sources: Sources, stage: str) -> bool:
    """Whether these folders are a reward model's; the usual tool's only say so by their stage."""
    folders = (sources.folder, *sources.adapters)
    if any(is_reward_model(folder) for folder in folders):
        return True
    return stage == "rm" and any(holds_head(folder) for folder in folders)


def find_head(sources: Sources) -> Head:
    """The head that counts: the last folder's that brings one. Raises BadInput without any."""
    for folder in (*reversed(sources.adapters), sources.folder):
        beside = read_value_head(folder)
        if beside is not None:
            return Head(*beside)
        stored = _stored(folder)
        if stored is not None:
            return Head(stored)
    raise BadInput(
        Problem(
            f"{sources.name} is a reward model without its head.",
            str(sources.folder),
            "Copy the whole folder of the run again.",
            "adapter_name_or_path",
        )
    )


def without_language(shapes: dict[str, TensorInfo], head: Head) -> dict[str, TensorInfo]:
    """The weights that are exported: the base's but for its output layer, and the head."""
    kept = {name: info for name, info in shapes.items() if not is_output_layer(name)}
    kept.setdefault(WEIGHT, TensorInfo("F32", tuple(head.weight.shape)))
    return kept


def as_changes(folder: Path, head: Head) -> Changes:
    """The head as what an adapter would bring whole."""
    return Changes(folder, replaced={WEIGHT: head.weight})


def complete(folder: Path, described: dict[str, Any], pad: int, head: Head) -> None:
    """Write what is a reward model's own into the exported folder: its config, the head's file."""
    text = json.dumps(describe(described, pad), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_value_head(folder, head.weight, head.bias)


def describe(config: dict[str, Any], pad: int) -> dict[str, Any]:
    """config.json of the exported model. Raises BadInput for a family without such a class."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSES,
    )

    family = str(config.get("model_type"))
    if family not in CLASSES:
        raise BadInput(
            Problem(
                f"transformers has no class that scores with a {family} model.",
                "model_name_or_path",
                "Keep the reward model as its adapter.",
                "model_name_or_path",
            )
        )
    return {
        **config,
        "architectures": [CLASSES[family]],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "pad_token_id": pad,
    }


def _stored(folder: Path) -> Any:
    """The head among the weights of a model or adapter folder, or None."""
    from safetensors import safe_open

    from engine.models.headers import weight_files

    adapter = folder / "adapter_model.safetensors"
    files = [adapter] if adapter.is_file() else weight_files(folder)
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if name.endswith(WEIGHT):
                    return opened.get_tensor(name)
    return None
