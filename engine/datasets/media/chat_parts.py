"""A vision-language model's way of writing a turn with pictures, through its own template.

Most templates take a turn's content as parts (`{"type": "image"}`, `{"type": "text", …}`), some
nothing else; some know no pictures, and take the placeholder of the model's processor as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.datasets.chat_format import RENDER_ERRORS, ChatFormat
from engine.datasets.picture_rows import PLACEHOLDER
from engine.datasets.tokenizer import FastTokenizer

_PROBE = "PrObE8"


@dataclass(frozen=True)
class PictureWords:
    """What stands in a text for a picture: its token, with what opens and closes it."""

    token: str
    opening: str = ""
    closing: str = ""

    @property
    def text(self) -> str:
        return f"{self.opening}{self.token}{self.closing}"


def picture_words(config: Mapping[str, Any], tokenizer: FastTokenizer) -> PictureWords | None:
    """Those of the model with this config.json; None for one that reads no pictures."""
    if not reads_pictures(config):
        return None

    def text(*names: str) -> str:
        for name in names:
            value = config.get(name)
            found = tokenizer.backend.id_to_token(value) if isinstance(value, int) else None
            if found:
                return str(found)
        return ""

    # Gemma's processor puts its picture where the token stands that opens one.
    token = text("boi_token_index") or text("image_token_id", "image_token_index") or PLACEHOLDER
    opening, closing = text("vision_start_token_id"), text("vision_end_token_id")
    return PictureWords(token, opening, closing) if opening and closing else PictureWords(token)


class PictureFormat(ChatFormat):
    """The chat format of a model that reads pictures: `<image>` in a turn becomes its own words."""

    def __init__(self, words: PictureWords, *args: Any, **kwargs: Any) -> None:
        self.words = words
        self._form: tuple[bool, bool] | None = None
        super().__init__(*args, **kwargs)

    def write_as(self, words: PictureWords) -> None:
        """Other words: those that the model's processor names."""
        self.words = words
        self._form = None

    def render(self, turns: Sequence[Mapping[str, Any]], *args: Any, **kwargs: Any) -> str:
        """As `ChatFormat.render`, each `<image>` of a user's or tool's turn as a picture."""
        if self._form is None:
            self._form = self._probed()
        pictures, texts = self._form
        written = [self._turn(turn, pictures, texts) for turn in turns]
        return super().render(written, *args, **kwargs)

    def _turn(self, turn: Mapping[str, Any], pictures: bool, texts: bool) -> Mapping[str, Any]:
        content = turn.get("content")
        if not isinstance(content, str):
            return turn
        asks = turn.get("role") in ("user", "tool") and PLACEHOLDER in content
        if asks and not pictures:
            return {**turn, "content": content.replace(PLACEHOLDER, self.words.text)}
        if not asks and not texts:
            return turn
        pieces = re.split(f"({re.escape(PLACEHOLDER)})", content) if asks else [content]
        parts = [
            {"type": "image"} if asks and piece == PLACEHOLDER else {"type": "text", "text": piece}
            for piece in pieces
            if piece or not asks
        ]
        return {**turn, "content": parts}

    def _probed(self) -> tuple[bool, bool]:
        """Whether the template takes pictures as parts, and whether it takes text as parts only."""
        parts = [{"type": "image"}, {"type": "text", "text": _PROBE}]
        shown = self._shown(parts)
        pictures = _PROBE in shown and self.words.token in shown and "'type'" not in shown
        return pictures, pictures and _PROBE not in self._shown(_PROBE)

    def _shown(self, content: Any) -> str:
        try:
            return super().render([{"role": "user", "content": content}])
        except RENDER_ERRORS:
            return ""


def reads_pictures(config: Mapping[str, Any]) -> bool:
    """Whether the model with this config.json takes pictures beside its text."""
    return isinstance(config.get("vision_config"), Mapping)


def reads_pictures_in(folder: Path) -> bool:
    """Whether the model in `folder` takes pictures; False where its config can't be read."""
    return reads_pictures(config_of(folder))


def config_of(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder; empty where it can't be read."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
