"""How near an answer comes to its reference: BLEU-4, ROUGE-1/2/L, exact match. All 0 to 100.

- bleu-4: sacrebleu's sentence BLEU with up to four words in a row, effective order and exponential
  smoothing. Chinese is compared character by character (sacrebleu's `zh`), other text by words
  (`13a`). (The field's usual tool compares characters in every language: its numbers for English
  are higher and can't be set beside these.)
- rouge-1, rouge-2, rouge-l: rouge-score's F1, lower case, no stemming, Chinese segmented by jieba.
- exact_match: 100 where both are the same after runs of blanks became one and the ends were
  trimmed, else 0.

A row without words on one side scores 0 in BLEU and ROUGE; a single word has no ROUGE-2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.evaluation.words import Words, has_chinese

MEASURES = ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact_match")


class Scorer:
    """Scores one answer at a time. Imports sacrebleu and rouge-score when made."""

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU

        self._bleu: dict[str, Any] = {
            name: BLEU(tokenize=name, effective_order=True, smooth_method="exp")
            for name in ("zh", "13a")
        }
        self._rouge: Any = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Words())

    def score(self, predict: str, label: str) -> dict[str, float]:
        """The measures of `predict` against the reference `label`, by the names in MEASURES."""
        kind = "zh" if has_chinese(label) or has_chinese(predict) else "13a"
        bleu = self._bleu[kind].sentence_score(predict, [label]).score
        rouge = self._rouge.score(label, predict)
        return {
            "bleu-4": float(bleu),
            "rouge-1": 100 * float(rouge["rouge1"].fmeasure),
            "rouge-2": 100 * float(rouge["rouge2"].fmeasure),
            "rouge-l": 100 * float(rouge["rougeL"].fmeasure),
            "exact_match": 100.0 if _squeezed(predict) == _squeezed(label) else 0.0,
        }


def means(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure over rows, named as in `predict_results.json`."""
    if not scores:
        return {}
    return {
        f"predict_{name}": round(sum(row[name] for row in scores) / len(scores), 4)
        for name in MEASURES
    }


def _squeezed(text: str) -> str:
    return " ".join(text.split())
