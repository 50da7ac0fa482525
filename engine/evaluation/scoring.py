"""A reward model measured: how often, and how far, it puts the better answer above the worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.evaluation.course import Tally, measured
from engine.problem import Problem
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import PartRows
    from engine.models.inference import Loaded


@dataclass
class PairSums(Tally):
    """Sums over the pairs of some set; `loss` is -log sigmoid(margin) in nats."""

    right: int = 0
    loss: float = 0.0
    margin: float = 0.0
    reward: float = 0.0

    def add(self, better: float, worse: float) -> None:
        margin = better - worse
        self.rows += 1
        self.right += margin > 0
        self.margin += margin
        self.reward += (better + worse) / 2
        self.loss += max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))

    def numbers(self, prefix: str) -> dict[str, float]:
        """The means, under the names that training logs them by."""
        if not self.rows:
            return {}
        return {
            f"{prefix}_loss": self.loss / self.rows,
            f"{prefix}_accuracy": self.right / self.rows,
            f"{prefix}_margin": self.margin / self.rows,
            f"{prefix}_mean_reward": self.reward / self.rows,
            f"{prefix}_samples": self.rows,
        }


def run_scoring(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Score the pairs of `eval_dataset`, or of the held-out part of `dataset`, with a reward model.

    Writes `eval_results.json` and `all_results.json` into the session's folder and returns the
    same numbers: `eval_accuracy` (share of pairs whose better answer scores higher, 0 to 1),
    `eval_margin` and `eval_mean_reward` (in the model's own units), `eval_loss`, `eval_samples`,
    `eval_runtime` (seconds), `eval_samples_per_second`; with several sets also each one's own, as
    `eval_<set>_accuracy`. Raises BadInput for a model without a head that scores and for sets
    without pairs, Stopped once asked to stop.
    """
    nothing = Problem(
        "There are no pairs to measure on.",
        "eval_dataset",
        "Name an eval_dataset with preferences, or set val_size.",
        "eval_dataset",
    )
    return measured(config, session, head="score", form="pairs", measure=_score, nothing=nothing)


def _score(
    loaded: Loaded, prepared: Any, config: RunConfig, session: JobSession
) -> dict[str, PairSums]:
    rows: PartRows = prepared.eval
    # Rows stand set after set, so their number tells the set.
    owner = [name for name, count in prepared.eval_counts.items() for _ in range(count)]
    sums = {name: PairSums() for name in prepared.eval_counts}
    lengths = rows.lengths()
    # The longest first, so that memory runs out at once or not at all.
    order = sorted(range(len(rows)), key=lambda i: -lengths[i])
    size = max(1, config.per_device_eval_batch_size)
    for begin in range(0, len(order), size):
        session.check()
        session.progress("scoring", begin, len(rows), "pairs")
        batch = order[begin : begin + size]
        answers = []
        for name in ("chosen_ids", "rejected_ids"):
            answers += [[*rows[i]["prompt_ids"], *rows[i][name]] for i in batch]
        found = score_rows(loaded.model, answers, loaded.encoder.pad_id)
        for place, row in enumerate(batch):
            sums[owner[row]].add(found[place], found[place + len(batch)])
    session.progress("scoring", len(rows), len(rows), "pairs")
    return sums


def score_rows(model: Any, rows: Sequence[Sequence[int]], pad: int) -> list[float]:
    """The scores of rows of token ids, padded on the right into one batch."""
    import torch

    from engine.models.score_head import scores

    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = torch.tensor(row)
        mask[line, : len(row)] = 1
    with torch.inference_mode():
        found: list[float] = scores(model, ids.to(model.device), mask.to(model.device)).tolist()
    return found
