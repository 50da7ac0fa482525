"""A model's way of writing a turn with pictures, videos or sounds, through its own template.

Most templates take a turn's content as parts (`{"type": "image"}`, `{"type": "text", …}`), some
nothing else; some know no media, and take the placeholder of the model's processor as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.datasets.chat_format import RENDER_ERRORS, ChatFormat
from engine.datasets.media.counts import COUNTS
from engine.datasets.media.video_counts import takes_videos
from engine.datasets.medium import ANY_PLACEHOLDER, KINDS, PLACEHOLDERS, Kind
from engine.datasets.tokenizer import FastTokenizer
from engine.runs.json_object import read_object

_PROBE = "PrObE8"
_OF_PLACEHOLDER = {token: kind for kind, token in PLACEHOLDERS.items()}


@dataclass(frozen=True)
class MediaWords:
    """What stands in a text for a medium of one kind: its token, with what opens and closes it."""

    token: str
    opening: str = ""
    closing: str = ""

    @property
    def text(self) -> str:
        return f"{self.opening}{self.token}{self.closing}"


# The settings of a config.json that name each kind's token, and those around it.
_TOKENS: dict[Kind, tuple[str, ...]] = {
    # Gemma's processor puts its picture where the token stands that opens one.
    "image": ("boi_token_index", "image_token_id", "image_token_index"),
    "video": ("video_token_id", "video_token_index"),
    "audio": ("audio_token_id", "audio_token_index"),
}
_AROUND: dict[Kind, tuple[tuple[str, str], ...]] = {
    "image": (("vision_start_token_id", "vision_end_token_id"),),
    "video": (("vision_start_token_id", "vision_end_token_id"),),
    "audio": (("audio_start_token_id", "audio_end_token_id"),),
}
# Those that a tokenizer has and no config.json names (Qwen2-Audio).
_NAMED_AROUND: dict[Kind, tuple[str, str]] = {"audio": ("<|audio_bos|>", "<|audio_eos|>")}


def media_words(config: Mapping[str, Any], tokenizer: FastTokenizer) -> dict[Kind, MediaWords]:
    """Those of the model with this config.json; empty for one that reads only text."""
    return {kind: _words(kind, config, tokenizer) for kind in reads(config)}


def _words(kind: Kind, config: Mapping[str, Any], tokenizer: FastTokenizer) -> MediaWords:
    def text(name: str) -> str:
        value = config.get(name)
        found = tokenizer.backend.id_to_token(value) if isinstance(value, int) else None
        return str(found or "")

    token = next(filter(None, map(text, _TOKENS[kind])), PLACEHOLDERS[kind])
    for around in _AROUND[kind]:
        opening, closing = map(text, around)
        if opening and closing:
            return MediaWords(token, opening, closing)
    named = _NAMED_AROUND.get(kind, ())
    if named and all(tokenizer.backend.token_to_id(one) is not None for one in named):
        return MediaWords(token, *named)
    return MediaWords(token)


class MediaFormat(ChatFormat):
    """The chat format of a model that reads media: `<image>` in a turn becomes its own words."""

    def __init__(self, words: Mapping[Kind, MediaWords], *args: Any, **kwargs: Any) -> None:
        self.words = dict(words)
        self._form: tuple[frozenset[Kind], bool] | None = None
        super().__init__(*args, **kwargs)

    def write_as(self, tokens: Mapping[Kind, str]) -> None:
        """Other tokens: those that the model's processor names."""
        self.words = {
            kind: replace(self.words.get(kind, MediaWords(token)), token=token)
            for kind, token in tokens.items()
        }
        self._form = None

    def render(self, turns: Sequence[Mapping[str, Any]], *args: Any, **kwargs: Any) -> str:
        """As `ChatFormat.render`, each `<image>` of a user's or tool's turn as a picture, and the
        other kinds' likewise."""
        if self._form is None:
            self._form = self._probed()
        kinds, texts = self._form
        written = [self._turn(turn, kinds, texts) for turn in turns]
        return super().render(written, *args, **kwargs)

    def _turn(
        self, turn: Mapping[str, Any], kinds: frozenset[Kind], texts: bool
    ) -> Mapping[str, Any]:
        content = turn.get("content")
        if not isinstance(content, str):
            return turn
        asks = turn.get("role") in ("user", "tool")
        parts: list[dict[str, str]] = []

        def say(text: str) -> None:
            if parts and parts[-1]["type"] == "text":
                parts[-1]["text"] += text
            elif text:
                parts.append({"type": "text", "text": text})

        for piece in re.split(f"({ANY_PLACEHOLDER.pattern})", content) if asks else [content]:
            kind = _OF_PLACEHOLDER.get(piece) if asks else None
            if kind in kinds:
                parts.append({"type": str(kind)})
            else:
                say(self.words[kind].text if kind in self.words else piece)
        if texts or any(part["type"] != "text" for part in parts):
            return {**turn, "content": parts or [{"type": "text", "text": ""}]}
        return {**turn, "content": "".join(part["text"] for part in parts)}

    def _probed(self) -> tuple[frozenset[Kind], bool]:
        """The kinds that the template takes as parts, and whether it takes text as parts only."""
        kinds = frozenset(kind for kind in self.words if self._takes(kind))
        return kinds, bool(kinds) and _PROBE not in self._shown(_PROBE)

    def _takes(self, kind: Kind) -> bool:
        shown = self._shown([{"type": kind}, {"type": "text", "text": _PROBE}])
        return _PROBE in shown and self.words[kind].token in shown and "'type'" not in shown

    def _shown(self, content: Any) -> str:
        try:
            return super().render([{"role": "user", "content": content}])
        except RENDER_ERRORS:
            return ""


def reads(config: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The kinds of media that the model with this config.json takes beside its text."""
    has = {kind for kind, says in _READS.items() if says(config)}
    return tuple(kind for kind in KINDS if kind in has and kind in COUNTS)


def reads_in(folder: Path) -> tuple[Kind, ...]:
    """The kinds that the model in `folder` takes; none where its config can't be read."""
    return reads(config_of(folder))


def _sees(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("vision_config"), Mapping)


def _hears(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("audio_config"), Mapping)


_READS: dict[Kind, Callable[[Mapping[str, Any]], bool]] = {
    "image": _sees,
    "video": takes_videos,
    "audio": _hears,
}


def reads_pictures(config: Mapping[str, Any]) -> bool:
    """Whether the model with this config.json takes pictures beside its text."""
    return _sees(config)


def reads_pictures_in(folder: Path) -> bool:
    """Whether the model in `folder` takes pictures; False where its config can't be read."""
    return reads_pictures(config_of(folder))


def config_of(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder; empty where it can't be read."""
    return read_object(folder / "config.json")
