"""The tokens that a medium becomes, by arithmetic over the model's files: for the views and the
forecast, which import neither torch nor transformers.

Follows the processors of transformers 5.24 for the families below; tests compare both, token by
token. Of other families only the run's own processor knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.limits import Limits
from engine.datasets.media.paths import find_medium, media_root, picture_size
from engine.datasets.media.sound_counts import sound_words
from engine.datasets.media.video_counts import video_words
from engine.datasets.media_rows import Laid, in_text_order, laid_out
from engine.datasets.medium import Kind, Medium, words
from engine.runs.json_object import read_object

if TYPE_CHECKING:
    from engine.datasets.media.chat_parts import MediaWords
    from engine.datasets.tokenizer import FastTokenizer

Config = Mapping[str, Any]
_SMOLVLM_MOST = 4096


# What the processor writes for the medium in a file; raises RowFault where that isn't known.
WordsOf = Callable[[Path], str]


class Counted:
    """Lays out a row with media from their files' heads alone. See `MediaReader`."""

    def __init__(
        self, folder: Path, words: Mapping[Kind, MediaWords], tokenizer: FastTokenizer, config: Any
    ) -> None:
        self.folder = folder
        self.placeholders: dict[Kind, str] = {kind: one.token for kind, one in words.items()}
        self._tokenizer = tokenizer
        self._root = media_root(config)
        self._words: dict[Kind, WordsOf] = {
            kind: COUNTS[kind](folder, token, tokenizer, config)
            for kind, token in self.placeholders.items()
        }

    def lay_out(self, text: str, media: Sequence[Medium]) -> Laid:
        """`text` as tokens. Raises RowFault for media that aren't there, and for families whose
        media can't be counted."""
        pieces, ordered = in_text_order(text, media, self.placeholders)
        words = [self._words[one.kind](find_medium(self._root, one)) for one in ordered]
        tokens = [self.placeholders[one.kind] for one in ordered]
        return laid_out(self._tokenizer, pieces, words, tokens)


def counted(
    folder: Path, words: Mapping[Kind, MediaWords], tokenizer: FastTokenizer, config: Any
) -> Counted:
    """The reader by arithmetic for the model in `folder`."""
    return Counted(folder, words, tokenizer, config)


def unknown_count(kind: Kind) -> RowFault:
    """Of families whose tokens are not counted here."""
    return RowFault(
        f"how many tokens its {words([kind])} take is known once the run has loaded the model's "
        "processor"
    )


def _pictures(folder: Path, token: str, tokenizer: FastTokenizer, config: Any) -> WordsOf:
    model, processor = described(folder)
    limits = Limits.of(config)
    plain = not (config.image_do_pan_and_scan or config.crop_to_patches)

    def words_of(path: Path) -> str:
        size = limits.size(*picture_size(path))
        found = picture_text(model, processor, tokenizer, token, *size)
        if found is None or not plain:
            raise unknown_count("image")
        return found

    return words_of


def described(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json, and the settings of the processor in one flat mapping; each empty if absent."""
    processor = read_object(folder / "preprocessor_config.json")
    whole = read_object(folder / "processor_config.json")
    inner = whole.pop("image_processor", None)
    if isinstance(inner, dict):
        processor |= inner
    return read_object(folder / "config.json"), processor | whole


def picture_text(
    model: Config, processor: Config, tokenizer: Any, token: str, width: int, height: int
) -> str | None:
    """What the processor writes in place of `token`; None for a family not known here."""
    count = _FAMILIES.get(str(model.get("model_type")))
    return None if count is None else count(model, processor, tokenizer, token, width, height)


def _qwen(
    model: Config, processor: Config, tokenizer: Any, token: str, width: int, height: int
) -> str:
    vision = model.get("vision_config") or {}
    patch = int(processor.get("patch_size") or vision.get("patch_size") or 14)
    merge = int(processor.get("merge_size") or vision.get("spatial_merge_size") or 2)
    size = processor.get("size") or {}
    least = processor.get("min_pixels") or size.get("shortest_edge") or 56 * 56
    most = processor.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280
    height, width = _divisible(height, width, patch * merge, int(least), int(most))
    return token * ((height // patch) * (width // patch) // merge**2)


def _divisible(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """Qwen2-VL's size: multiples of `factor`, within the pixels, the shape kept."""
    if max(height, width) / min(height, width) > 200:
        raise RowFault("a picture is more than 200 times as long as wide")
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    if tall * wide > most:
        shrink = math.sqrt((height * width) / most)
        tall = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif tall * wide < least:
        grow = math.sqrt(least / (height * width))
        tall = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return tall, wide


def _llava(
    model: Config, processor: Config, tokenizer: Any, token: str, width: int, height: int
) -> str:
    vision = model.get("vision_config") or {}
    side = int(vision.get("image_size") or 336)
    crop = processor.get("crop_size") if processor.get("do_center_crop", True) else None
    size = crop or processor.get("size") or {}
    if isinstance(size, int):
        size = {"height": size, "width": size}
    tall, wide = int(size.get("height") or side), int(size.get("width") or side)
    patch = int(processor.get("patch_size") or vision.get("patch_size") or 14)
    extra = int(processor.get("num_additional_image_tokens", 1 if not processor else 0))
    strategy = processor.get("vision_feature_select_strategy") or model.get(
        "vision_feature_select_strategy", "default"
    )
    return token * ((tall // patch) * (wide // patch) + extra - (strategy == "default"))


def _gemma3(
    model: Config, processor: Config, tokenizer: Any, token: str, width: int, height: int
) -> str:
    count = int(processor.get("image_seq_length") or model.get("mm_tokens_per_image") or 256)
    soft, closing = (
        (token, "<end>")
        if tokenizer is None
        else (
            tokenizer.backend.id_to_token(model.get(name))
            for name in ("image_token_index", "eoi_token_index")
        )
    )
    return f"\n\n{token}{soft * count}{closing}\n\n"


def _idefics3(
    model: Config, processor: Config, tokenizer: Any, token: str, width: int, height: int
) -> str:
    longest = _edge(processor.get("size"), 4 * 364)
    tile = _edge(processor.get("max_image_size"), 364)
    count = int(processor.get("image_seq_len") or 169)
    fake, whole = "<fake_token_around_image>", "<global-img>"
    rows = columns = 0
    if processor.get("do_image_splitting", True):
        tall, wide = _longest_side(height, width, longest)
        shape = wide / tall
        if wide >= tall:
            wide = math.ceil(wide / tile) * tile
            tall = math.ceil(int(wide / shape) / tile) * tile
        else:
            tall = math.ceil(tall / tile) * tile
            wide = math.ceil(int(tall * shape) / tile) * tile
        if tall > tile or wide > tile:
            rows, columns = math.ceil(tall / tile), math.ceil(wide / tile)
    if not rows:
        return f"{fake}{whole}{token * count}{fake}"
    text = ""
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            text += f"{fake}<row_{row}_col_{column}>{token * count}"
        text += "\n"
    return f"{text}\n{fake}{whole}{token * count}{fake}"


def _longest_side(height: int, width: int, longest: int) -> tuple[int, int]:
    shape = width / height
    if width >= height:
        width, height = longest, int(longest / shape)
        height += height % 2
    else:
        height, width = longest, int(longest * shape)
        width += width % 2
    height, width = max(height, 1), max(width, 1)
    shape = width / height
    if width >= height and width > _SMOLVLM_MOST:
        width, height = _SMOLVLM_MOST, int(_SMOLVLM_MOST / shape)
    elif height > width and height > _SMOLVLM_MOST:
        height, width = _SMOLVLM_MOST, int(_SMOLVLM_MOST * shape)
    return max(height, 1), max(width, 1)


def _edge(size: Any, usual: int) -> int:
    return int(size.get("longest_edge") or usual) if isinstance(size, Mapping) else usual


_Count = Callable[[Config, Config, Any, str, int, int], str]
_FAMILIES: dict[str, _Count] = {
    **dict.fromkeys(
        ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _qwen
    ),
    **dict.fromkeys(("llava", "vipllava"), _llava),
    "gemma3": _gemma3,
    **dict.fromkeys(("idefics3", "smolvlm"), _idefics3),
}

# Each kind's counting, of the model in a folder: folder, the kind's token, tokenizer, settings.
COUNTS: dict[Kind, Callable[[Path, str, Any, Any], WordsOf]] = {
    "image": _pictures,
    "video": video_words,
    "audio": sound_words,
}
