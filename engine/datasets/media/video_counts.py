"""The tokens that a video becomes, by arithmetic over the model's files and the video's head.

Follows the processors of transformers 5.24 for the families below; tests compare both, token by
token. Nothing here needs torch, and no frame is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.videos import FrameChoice, VideoFacts, about_video
from engine.installed import is_installed
from engine.runs.json_object import read_object

# What each family's video processor has where the model's files say nothing.
QWEN2: dict[str, Any] = {
    "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
}
QWEN3: dict[str, Any] = {
    "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
CROPPED: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
}
SQUARE: dict[str, Any] = {
    "size": {"height": 384, "width": 384},
    "do_center_crop": False,
    "crop_size": None,
}
# Frames in patches of two, and frames stacked.
PATCHED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), QWEN2),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), QWEN3),
}
STACKED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llava_next_video", "video_llava"), CROPPED),
    "llava_onevision": SQUARE,
}
# Frames among the pictures.
FRAMED: dict[str, dict[str, Any]] = {
    "smolvlm": {"size": {"longest_edge": 4 * 364}, "max_image_size": {"longest_edge": 364}}
}
_KNOWN = (
    "size", "crop_size", "patch_size", "temporal_patch_size", "merge_size", "min_pixels",
    "max_pixels", "do_resize", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "resample", "default_to_square",
)  # fmt: skip

WordsOf = Callable[[Path], str]


def takes_videos(model: Mapping[str, Any]) -> bool:
    """Whether the model with this config.json is of a family whose videos are read here."""
    kind = str(model.get("model_type"))
    return kind in PATCHED or kind in STACKED or kind in FRAMED


def video_settings(folder: Path) -> dict[str, Any]:
    """The settings of the video half of the model in `folder`: found as transformers finds them
    (in the processor's file, in a file of their own, else those of its pictures) over its
    family's."""
    whole = read_object(folder / "processor_config.json")
    found = (
        whole.get("video_processor")
        or read_object(folder / "video_preprocessor_config.json")
        or read_object(folder / "preprocessor_config.json")
        or whole.get("image_processor")
        or {}
    )
    kind = str(read_object(folder / "config.json").get("model_type"))
    own = {name: value for name, value in found.items() if name in _KNOWN and value is not None}
    if kind in FRAMED:
        if found.get("max_image_size"):
            own["max_image_size"] = found["max_image_size"]
        if found.get("video_sampling"):
            own["size"] = found["video_sampling"]["video_size"]
    usual = PATCHED.get(kind) or STACKED.get(kind) or FRAMED.get(kind) or {}
    return {**usual, **own}


def video_words(folder: Path, token: str, tokenizer: Any, config: Any) -> WordsOf:
    """What the processor of the model in `folder` writes for the video in a file, `token` being
    what stands for one. The words raise RowFault for a family that isn't known here."""
    model, settings = read_object(folder / "config.json"), video_settings(folder)
    whole = read_object(folder / "processor_config.json")
    kind = str(model.get("model_type"))
    choice = FrameChoice.of(config)

    def words_of(path: Path) -> str:
        facts = about_video(path, choice.fps)
        places = in_pairs(choice.places(facts))
        size = choice.limits.size(facts.width, facts.height)
        if kind in PATCHED:
            return _patched_words(model, settings, token, tokenizer, facts, places, size)
        if kind in STACKED:
            return token * _stacked_tokens(model, settings | whole, len(places))
        if kind in FRAMED and is_installed("num2words"):
            return _framed_words(model, whole, tokenizer, facts, places)
        raise RowFault(
            "how many tokens its videos take is known once the run has loaded the model's processor"
        )

    return words_of


def in_pairs(places: Sequence[Any]) -> list[Any]:
    """A single frame twice: families that take frames in pairs need one pair."""
    return list(places) if len(places) > 1 else [*places, *places]


def frame_size(
    settings: Mapping[str, Any], frames: int, height: int, width: int, over_all: bool
) -> tuple[int, int]:
    """Height and width that Qwen's frames are given: multiples of a merged patch, the pixels of a
    frame (Qwen3-VL: of all frames of the video, `over_all`) within the bounds of `size`.

    As the `smart_resize` of each. Raises RowFault for frames that are too long and thin.
    """
    size = settings.get("size") or {}
    least = int(settings.get("min_pixels") or size["shortest_edge"])
    most = int(settings.get("max_pixels") or size["longest_edge"])
    factor = int(settings["patch_size"]) * int(settings["merge_size"])
    if over_all and (height < factor or width < factor):
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) / min(height, width) > 200:
        raise RowFault("a video is more than 200 times as long as wide")
    temporal = int(settings["temporal_patch_size"])
    rounded = round(frames / temporal) * temporal if over_all else 1
    count = frames if over_all else 1
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    if rounded * tall * wide > most:
        shrink = math.sqrt((count * height * width) / most)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif rounded * tall * wide < least:
        grow = math.sqrt(least / (count * height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return tall, wide


def _patched_words(
    model: Mapping[str, Any], settings: Mapping[str, Any], token: str, tokenizer: Any,
    facts: VideoFacts, places: Sequence[int], size: tuple[int, int],
) -> str:  # fmt: skip
    timed = PATCHED[str(model.get("model_type"))] is QWEN3
    height, width = frame_size(settings, len(places), size[1], size[0], timed)
    patch, merge = int(settings["patch_size"]), int(settings["merge_size"])
    temporal = int(settings["temporal_patch_size"])
    tokens = token * ((height // patch) * (width // patch) // merge**2)
    filled = [*places, *([places[-1]] * (-len(places) % temporal))]
    if not timed:
        return tokens * (len(filled) // temporal)
    text = ""
    opening, closing = (
        tokenizer.backend.id_to_token(model.get(f"vision_{side}_token_id"))
        for side in ("start", "end")
    )
    for first in range(0, len(filled), temporal):
        last = filled[first + temporal - 1]
        seconds = (filled[first] / facts.fps + last / facts.fps) / 2
        text += f"<{seconds:.1f} seconds>{opening}{tokens}{closing}"
    return text


def _framed_words(
    model: Mapping[str, Any], whole: Mapping[str, Any], tokenizer: Any, facts: VideoFacts,
    places: Sequence[int],
) -> str:  # fmt: skip
    from num2words import num2words

    token = tokenizer.backend.id_to_token(model.get("image_token_id"))
    fake = "<fake_token_around_image>"
    frame = f"{fake}<global-img>{token * int(whole.get('image_seq_len') or 169)}{fake}"
    text = (
        f"You are provided the following series of {num2words(len(places))} frames from a "
        f"{timedelta(seconds=int(facts.seconds))} [H:MM:SS] video.\n"
    )
    for place in places:
        seconds = place / facts.fps
        text += f"\nFrame from {int(seconds // 60):02d}:{int(seconds % 60):02d}:{frame}"
    return f"{text}\n\n"


def _stacked_tokens(model: Mapping[str, Any], settings: Mapping[str, Any], frames: int) -> int:
    if model.get("model_type") == "llava_onevision":
        side = int(math.sqrt(int(settings["num_image_tokens"])))
        return int(frames * math.ceil(side / 2) ** 2 + 1)
    crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    size = crop or settings["size"]
    patch = int(settings.get("patch_size") or 14)
    of_frame = (int(size["height"]) // patch) * (int(size["width"]) // patch)
    if model.get("model_type") == "llava_next_video":
        return of_frame // 4 * frames
    return (of_frame + int(settings.get("num_additional_image_tokens", 1))) * frames
