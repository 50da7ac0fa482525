"""The parts of a model that sees or hears: tower, projector, and the language model.

Families name them differently (transformers 5.24): LLaVA, Gemma 3, Mistral 3 and InternVL
`vision_tower`, `multi_modal_projector`, `language_model`; Qwen2-VL to Qwen3-VL and GLM-V `visual`,
with the projector as `visual.merger`; Idefics3 and SmolVLM `vision_model`, `connector`,
`text_model`; MiniCPM-V `vpm`, `resampler`, `llm`; Qwen2-Audio and Voxtral `audio_tower`.
A weight's part is told by the names on its way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.datasets.media.chat_parts import reads, reads_in, reads_pictures, reads_pictures_in
from engine.datasets.media.counts import described
from engine.datasets.media_rows import reads_only
from engine.datasets.medium import Medium, kinds_of, word, words
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

__all__ = [
    "Part",
    "described",
    "frozen_modules",
    "is_vision_model",
    "part_of",
    "reads",
    "reads_in",
    "reads_pictures",
    "reads_pictures_in",
    "sees",
    "trains",
]

Part = Literal["tower", "projector", "language"]
_PROJECTORS = frozenset(
    {
        "multi_modal_projector", "mm_projector", "connector", "merger", "deepstack_merger_list",
        "merger_list", "resampler", "aligner", "projector", "vision_projector", "embed_vision",
        "embed_audio", "image_newline", "qformer", "visual_projection", "downsample", "mlp1",
    }
)  # fmt: skip
_TOWERS = frozenset(
    {
        "visual", "vision_tower", "vision_model", "vision_encoder", "image_tower", "vpm",
        "vision_backbone", "vision_embed_tokens", "vqmodel", "audio_tower", "audio_encoder",
    }
)  # fmt: skip


def part_of(name: str) -> Part:
    """The part that a weight or a module belongs to, by its whole name."""
    steps = set(name.split("."))
    if steps & _PROJECTORS:
        return "projector"
    return "tower" if steps & _TOWERS else "language"


def sees(names: Iterable[str]) -> bool:
    """Whether weights of these names are of a model that sees or hears."""
    return any(part_of(name) != "language" for name in names)


def is_vision_model(model: Any) -> bool:
    """Whether a loaded model reads pictures, videos or sounds."""
    held = (getattr(model.config, name, None) for name in ("vision_config", "audio_config"))
    return any(one is not None for one in held)


def trains(name: str, config: RunConfig) -> bool:
    """Whether the settings let the part train that a weight of a model that sees or hears is in."""
    frozen = {
        "tower": config.freeze_vision_tower,
        "projector": config.freeze_multi_modal_projector,
        "language": config.freeze_language_model,
    }
    return not frozen[part_of(name)]


def hold_frozen(model: Any, config: RunConfig) -> None:
    """Take the frozen parts of a vision-language model out of what trains; others stay as they are.

    Raises BadInput where nothing is left to train.
    """
    if not is_vision_model(model):
        if config.freeze_language_model:
            raise _nothing("The model reads only text, and its language model is frozen.")
        return
    left = False
    for name, weight in model.named_parameters():
        if not trains(name, config):
            weight.requires_grad_(False)
        left = left or weight.requires_grad
    if not left:
        raise _nothing("With these parts frozen nothing would be trained.")


def frozen_modules(model: Any, config: RunConfig) -> str | None:
    """A pattern of the modules that get no adapter, for peft's `exclude_modules`; None for none.

    It names the outermost modules whose weights are all of frozen parts, and what is in them.
    """
    if not is_vision_model(model):
        if config.freeze_language_model:
            raise _nothing("The model reads only text, and its language model is frozen.")
        return None
    found: list[str] = []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in found):
            continue
        weights = [f"{name}.{inner}" for inner, _ in module.named_parameters()]
        if weights and not any(trains(weight, config) for weight in weights):
            found.append(name)
    if not found:
        return None
    return "(" + "|".join(re.escape(name) for name in found) + r")(\..*)?"


def whole_parts(names: Iterable[str], config: RunConfig) -> set[str]:
    """The weights that `freeze` trains whole in a vision-language model: of the tower and the
    projector, where they are not frozen. Blocks are counted in the language model alone."""
    return {name for name in names if part_of(name) != "language" and trains(name, config)}


def check_reads_media(folder: Path, media: Iterable[Medium]) -> None:
    """Raise BadInput for a model that does not read media of these kinds."""
    read = reads_in(folder)
    missing = [kind for kind in kinds_of(media) if kind not in read]
    if missing:
        raise BadInput(
            Problem(
                f"{folder.name} reads only {reads_only(read)}, and the message has a "
                f"{word(missing[0])}.",
                str(folder),
                f"Choose a model that reads {words(missing)}, or take the {word(missing[0])} away.",
                "model_name_or_path",
            )
        )


def _nothing(what: str) -> BadInput:
    return BadInput(
        Problem(
            what,
            "freeze_language_model",
            "Switch freeze_language_model off.",
            "freeze_language_model",
        )
    )
