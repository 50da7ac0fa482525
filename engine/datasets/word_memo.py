"""Tokens of text, word by word, each word tokenised once.

Most of a tokenizer's time goes into the words that it has met a thousand times. Byte-level
tokenizers whose pre-tokenizer is one of those below always begin a new piece at a single blank
between two visible ASCII characters, and tokenise pieces apart from each other: a text may be cut
there, and its tokens are those of its words, joined. For any other pipeline `word_memo` gives None,
and the tokenizer does it all.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE

# One literal first, so that the regular expression engine can search for it.
_CUT = re.compile(r" (?<=[!-~] )(?=[!-~])")
# The patterns of GPT-2, Llama 3 and Qwen 2: none has a piece that reaches over such a blank, which
# is the first character of a piece, or all of it.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = frozenset((_GPT2, _LLAMA3, _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")))
# Words remembered at most, and the longest: about 100 MB.
_MOST_WORDS = 500_000
_LONGEST_WORD = 40


class WordMemo:
    """The words of `tokenizer` met so far. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._openings: dict[str, list[int]] = {}
        self._words: dict[str, list[int]] = {}
        self._sizes = _byte_sizes(tokenizer)
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special tokens recognised and none added."""
        with self._lock:
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if len(self._words) + len(self._openings) > _MOST_WORDS:
            self._openings.clear()
            self._words.clear()
        cut = [_CUT.split(text) for text in texts]
        long_words = self._learn(self._words, " ", [words[1:] for words in cut])
        long_openings = self._learn(self._openings, "", [words[:1] for words in cut])
        word = self._words.__getitem__
        found = [
            [*self._openings[words[0]], *chain.from_iterable(map(word, words[1:]))] for words in cut
        ]
        for text in long_words:
            del self._words[text]
        for text in long_openings:
            del self._openings[text]
        return found

    def starts(self, ids: Sequence[int], text: str) -> list[int] | None:
        """In which byte of the text each token begins; None where the tokens don't make it up."""
        ends = list(accumulate(map(self._sizes.__getitem__, ids), initial=0))
        size = len(text) if text.isascii() else len(text.encode())
        return ends[:-1] if ends[-1] == size else None

    def _learn(
        self, known: dict[str, list[int]], before: str, cut: Sequence[Sequence[str]]
    ) -> list[str]:
        """Tokenise the words not known yet; gives those that are too long to be kept."""
        fresh = list(set(chain.from_iterable(cut)).difference(known))
        encoded = self._tokenizer.encode_batch_fast(
            [before + word for word in fresh], add_special_tokens=False
        )
        known.update(
            (word, list(encoding.ids)) for word, encoding in zip(fresh, encoded, strict=True)
        )
        return [word for word in fresh if len(word) > _LONGEST_WORD]


def word_memo(tokenizer: Tokenizer) -> WordMemo | None:
    """A memo for `tokenizer`, or None where its words may not be tokenised apart."""
    if tokenizer.normalizer is not None or tokenizer.pre_tokenizer is None:
        return None
    if not isinstance(tokenizer.model, BPE) or tokenizer.model.dropout:
        return None
    if not _cuts_words(json.loads(tokenizer.pre_tokenizer.__getstate__())):
        return None
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.lstrip or token.rstrip or token.single_word or " " in token.content:
            return None
    return WordMemo(tokenizer)


def _cuts_words(stage: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer, as the library writes it, is one of those known to cut."""
    stages = stage["pretokenizers"] if stage["type"] == "Sequence" else [stage]
    cuts = byte_level = False
    for part in stages:
        kind = part["type"]
        if kind == "Digits":
            continue
        if kind == "ByteLevel" and not part["add_prefix_space"]:
            byte_level = True
            cuts = cuts or bool(part.get("use_regex", True))
        elif kind == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
            if part["pattern"].get("Regex") not in _PATTERNS:
                return False
            cuts = True
        else:
            return False
    return cuts and byte_level


def _byte_sizes(tokenizer: Tokenizer) -> Sequence[int]:
    """How many bytes of text each token stands for."""
    # A byte-level vocabulary writes each byte as one character.
    sizes = {place: len(token) for token, place in tokenizer.get_vocab(False).items()}
    added = tokenizer.get_added_tokens_decoder()
    sizes |= {place: len(token.content.encode()) for place, token in added.items()}
    table = [sizes.get(place, 0) for place in range(max(sizes, default=-1) + 1)]
    # One byte a token stays in the processor's cache; few vocabularies have longer tokens.
    return bytes(table) if max(table, default=0) < 256 else table
