"""Texts cut into words, for ROUGE: Chinese by jieba, everything else at what is no letter."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from typing import Any

from engine.paths import cache_dir

# Han characters: the unified blocks, their extensions and the compatibility forms.
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_RUN = re.compile(r"[^\W_]+")

_lock = threading.Lock()
_jieba: Any = None


def has_chinese(text: str) -> bool:
    """Whether `text` holds a Han character."""
    return _HAN.search(text) is not None


class Words:
    """A tokenizer as `rouge_score` wants one (its `tokenizers.Tokenizer`).

    On ASCII text it gives what rouge-score's own does, without stemming: lower case, runs of
    letters and digits. Letters of every script count, and runs with Chinese in them are segmented.
    """

    def tokenize(self, text: str) -> list[str]:
        words: list[str] = []
        for run in _RUN.findall(text.lower()):
            if has_chinese(run):
                words += [word for word in _segmenter().lcut(run) if word.strip()]
            else:
                words.append(run)
        return words


def _segmenter() -> Any:
    """jieba's tokenizer, loaded at the first Chinese text, with its cache in ours and silent."""
    global _jieba
    with _lock:
        if _jieba is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pkg_resources and escapes, on import
                import jieba

            # It hangs a handler to stderr on itself, and talks while it loads.
            logger = logging.getLogger("jieba")
            logger.handlers.clear()
            logger.setLevel(logging.WARNING)
            folder = cache_dir() / "jieba"
            folder.mkdir(parents=True, exist_ok=True)
            segmenter = jieba.Tokenizer()
            segmenter.tmp_dir = str(folder)
            segmenter.initialize()
            _jieba = segmenter
        return _jieba
