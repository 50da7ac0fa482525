"""Sampled answers until they are learned from, and the matrices that are made of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from engine.training.rewards.scoring import Scores
from engine.training.sampling.reading import Reading


@dataclass(frozen=True)
class Sampled:
    """One answer and what was known when it was sampled; on the CPU.

    `prompt` and `answer` are tokens; `prompt_text`, `text` and the row's right answer `wanted` are
    for people. `logprobs`, `reference` (log-probabilities before training), `values` and `entropy`
    are (tokens of the answer,) in fp32.
    """

    prompt: list[int]
    answer: list[int]
    prompt_text: str
    text: str
    wanted: str
    score: float
    sources: dict[str, float]
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    entropy: torch.Tensor

    @classmethod
    def of(
        cls,
        rows: Sequence[dict[str, Any]],
        answers: Sequence[list[int]],
        texts: Sequence[str],
        scores: Scores,
        policy: Reading,
        reference: Reading,
    ) -> list[Sampled]:
        """One for each row of a micro-batch."""
        assert policy.values is not None
        assert policy.entropy is not None
        matrices = [
            matrix.float().cpu()
            for matrix in (policy.logprobs, reference.logprobs, policy.values, policy.entropy)
        ]
        return [
            cls(
                list(row["prompt_ids"]),
                answer,
                row["prompt"],
                text,
                row["answer"],
                score,
                sources,
                *(matrix[line, : len(answer)].clone() for matrix in matrices),
            )
            for line, (row, answer, text, score, sources) in enumerate(
                zip(rows, answers, texts, scores.total.tolist(), scores.each, strict=True)
            )
        ]


@dataclass(frozen=True)
class Batch:
    """A buffer as matrices (answers, longest answer), 0 behind the answers; `scores` (answers,)."""

    mask: torch.Tensor
    scores: torch.Tensor
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    entropy: torch.Tensor


@dataclass
class Buffer:
    """The answers of a step so far."""

    rows: list[Sampled] = field(default_factory=list)

    def add(self, rows: Sequence[Sampled]) -> None:
        self.rows += rows

    def batch(self) -> Batch:
        """All answers side by side. There is at least one."""
        lengths = torch.tensor([len(row.answer) for row in self.rows])

        def matrix(values: list[torch.Tensor]) -> torch.Tensor:
            return pad_sequence(values, batch_first=True)

        return Batch(
            mask=torch.arange(int(lengths.max()))[None] < lengths[:, None],
            scores=torch.tensor([row.score for row in self.rows]),
            logprobs=matrix([row.logprobs for row in self.rows]),
            reference=matrix([row.reference for row in self.rows]),
            values=matrix([row.values for row in self.rows]),
            entropy=matrix([row.entropy for row in self.rows]),
        )

    def means_of_sources(self) -> dict[str, float]:
        """`rewards/NAME`: the mean of each source of reward over the rows it applies to."""
        found: dict[str, list[float]] = defaultdict(list)
        for row in self.rows:
            for name, value in row.sources.items():
                if not math.isnan(value):
                    found[name].append(value)
        return {f"rewards/{name}": sum(values) / len(values) for name, values in found.items()}
