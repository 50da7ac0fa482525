"""A model folder's tokenizer through the `tokenizers` library alone, without transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

from engine.config.vocabulary import NewTokens, new_tokens
from engine.paths import cache_dir
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

_NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_SLOW = ("tokenizer.model", "spiece.model", "vocab.json", "tekken.json", "vocab.txt")


class FastTokenizer:
    """The tokenizer of `folder`: `backend`, its named special tokens and its chat template.

    `chat_templates` maps names to Jinja sources; most models have only "default", base models none.
    `eos_ids` are all ids that end an answer, `pad_id` falls back to the end of text.
    Raises BadInput for a folder without a tokenizer, or with one that can't be read.
    """

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        source = folder
        if not (folder / "tokenizer.json").is_file():
            source = _converted(folder, trust_remote_code)
        self.folder = folder
        self.backend = _load(source / "tokenizer.json")
        # Truncation and padding saved with a tokenizer would silently change rows.
        self.backend.no_truncation()
        self.backend.no_padding()
        config = _read(source / "tokenizer_config.json")
        named = {**_read(source / "special_tokens_map.json"), **config}
        self.special_tokens = {
            key: text for key in _NAMED if (text := _token_text(named.get(key))) is not None
        }
        self._add_missing(config)
        self.chat_templates = _templates(source, config)
        self.special_texts = frozenset(
            token.content
            for token in self.backend.get_added_tokens_decoder().values()
            if token.special
        )
        self.eos_ids = self._eos_ids(folder)
        self.eos_token = self.special_tokens.get("eos_token") or (
            self.backend.id_to_token(self.eos_ids[0]) if self.eos_ids else None
        )
        self.bos_token = self.special_tokens.get("bos_token")
        self.pad_id = self._id(self.special_tokens.get("pad_token"))
        if self.pad_id is None:
            self.pad_id = self.eos_ids[0] if self.eos_ids else 0
        self._config = config
        self.new_ids: frozenset[int] = frozenset()
        self.split_special_tokens = bool(config.get("split_special_tokens"))
        self.backend.encode_special_tokens = self.split_special_tokens

    def add_new(self, config: RunConfig) -> None:
        """Add the tokens that a run's settings add; `new_ids` are those the folder hadn't.

        Raises BadInput for a file of tokens that can't be read.
        """
        before = self.backend.get_vocab(with_added_tokens=True)
        fresh = as_added(new_tokens(config))
        if fresh:
            self.backend.add_tokens([token for token in fresh if not token.special])
            self.backend.add_special_tokens([token for token in fresh if token.special])
            self.special_texts |= {token.content for token in fresh if token.special}
            ids = (self.backend.token_to_id(token.content) for token in fresh)
            known = set(before.values())
            self.new_ids = frozenset(i for i in ids if i is not None and i not in known)
        if config.split_special_tokens:
            self.split_special_tokens = True
            self.backend.encode_special_tokens = True

    @property
    def rows(self) -> int:
        """How many rows the embeddings need for all its tokens."""
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def adds_bos(self) -> bool:
        """Whether plain text is opened with the beginning-of-text token when it is encoded."""
        if "add_bos_token" in self._config:
            return bool(self._config["add_bos_token"])
        return self.bos_id in self.backend.encode("a").ids[:1]

    @property
    def bos_id(self) -> int | None:
        return self._id(self.bos_token)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, in which special tokens are recognised and none is added."""
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)

    def _add_missing(self, config: Mapping[str, Any]) -> None:
        """Add what the config names and tokenizer.json lacks, as transformers does on loading."""
        added = self.backend.get_added_tokens_decoder()
        have = {token.content for token in added.values()}
        declared = config.get("added_tokens_decoder")
        items = declared.items() if isinstance(declared, Mapping) else ()
        for _, token in sorted(items, key=lambda item: int(item[0])):
            if not isinstance(token, Mapping) or token.get("content") in have:
                continue
            fields = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
            self.backend.add_tokens([AddedToken(**{k: token[k] for k in fields if k in token})])
            have.add(token["content"])
        extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
        texts = [*self.special_tokens.values()]
        if isinstance(extra, (list, tuple)):
            texts += [text for item in extra if (text := _token_text(item)) is not None]
        missing = [AddedToken(text, special=True) for text in texts if text not in have]
        if missing:
            self.backend.add_special_tokens(missing)

    def _eos_ids(self, folder: Path) -> tuple[int, ...]:
        found: list[int] = []
        named = self._id(self.special_tokens.get("eos_token"))
        if named is not None:
            found.append(named)
        for name in ("generation_config.json", "config.json"):
            value = _read(folder / name).get("eos_token_id")
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, int) and item not in found:
                    found.append(item)
        return tuple(found)


def as_added(new: NewTokens) -> list[AddedToken]:
    """New tokens as every tokenizer here takes them, plain ones first."""
    plain = [AddedToken(text, special=False, normalized=False) for text in new.plain]
    return plain + [AddedToken(text, special=True, normalized=False) for text in new.special]


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises bare Exception for every fault
        raise _bad(
            f"The tokenizer of {path.parent.name} can't be read: {error}.",
            path,
            "The file may be cut short: fetch the model again.",
        ) from None


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    value = config.get("chat_template")
    templates: dict[str, str] = {}
    if isinstance(value, str):
        templates["default"] = value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping) and isinstance(item.get("template"), str):
                templates[str(item.get("name"))] = item["template"]
    own = folder / "chat_template.jinja"
    if own.is_file():
        templates["default"] = own.read_text(encoding="utf-8")
    more = folder / "additional_chat_templates"
    if more.is_dir():
        for path in sorted(more.glob("*.jinja")):
            templates[path.stem] = path.read_text(encoding="utf-8")
    return templates


def _converted(folder: Path, trust_remote_code: bool) -> Path:
    """A cached folder with the tokenizer in its fast form (transformers converts it, once)."""
    files = [folder / name for name in _SLOW if (folder / name).is_file()]
    if not files:
        raise _bad(
            f"The model folder {folder.name} has no tokenizer.",
            folder,
            "It needs a tokenizer.json; give the folder that holds the whole model.",
        )
    stamp = "".join(f"{item.resolve()} {item.stat().st_mtime_ns}\n" for item in files)
    target = cache_dir() / "tokenizers" / hashlib.sha256(stamp.encode()).hexdigest()[:16]
    if (target / "tokenizer.json").is_file():
        return target
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        slow.save_pretrained(target)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _bad(
            f"The tokenizer of {folder.name} can't be loaded: {reason.rstrip('.')}.",
            folder,
            "Use a copy of the model that has a tokenizer.json.",
        ) from None
    if not (target / "tokenizer.json").is_file():
        raise _bad(
            f"The tokenizer of {folder.name} has no fast form.",
            folder,
            "Use a copy of the model that has a tokenizer.json.",
        )
    return target


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _bad(
            f"{path.name} is not valid JSON: {error}.", path, "Fetch the model again."
        ) from None
    return value if isinstance(value, dict) else {}


def _token_text(value: Any) -> str | None:
    """The text of a special token, written bare or as an AddedToken's fields."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _bad(what: str, where: Path, hint: str) -> BadInput:
    return BadInput(Problem(what, str(where), hint, "model_name_or_path"))
