"""Losses over pairs of answers, the better one ("chosen") and the worse one ("rejected").

Each is a plain function over log-probabilities of whole answers, one number a pair, and returns one
loss a pair, shape (pairs,); the training loss is their mean. `ratio` is an answer's log-ratio
log π(y|x) - log π_ref(y|x), the log-probabilities summed over the answer's tokens; `beta` is the
strength of the tie to the reference model (temperature of the reward beta * ratio).

All but kto_pair equal TRL 1.16's trainers
(tests/engine/training/preference/test_preference_losses.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import logsigmoid

PairLoss = Literal["sigmoid", "hinge", "ipo", "robust", "kto_pair", "orpo", "simpo"]


def sigmoid_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, beta: float, smoothing: float = 0.0
) -> torch.Tensor:
    """DPO over log-ratios (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    `smoothing` is the share of pairs believed to be labelled the wrong way round: the conservative
    DPO of Mitchell's note (2023), which keeps the loss's minimum at a finite margin.
    """
    margin = beta * (chosen - rejected)
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def robust_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, beta: float, smoothing: float
) -> torch.Tensor:
    """DPO that is unbiased where a share `smoothing` < 0.5 of labels is flipped (Chowdhury et al.
    2024, arXiv 2403.00409, equation 11)."""
    margin = beta * (chosen - rejected)
    clean = (1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)
    return -clean / (1 - 2 * smoothing)


def hinge_loss(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """Hinge on the margin (SLiC, Zhao et al. 2023, arXiv 2305.10425, with DPO's reward)."""
    return torch.relu(1 - beta * (chosen - rejected))


def ipo_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, lengths: torch.Tensor, beta: float
) -> torch.Tensor:
    """IPO (Azar et al. 2023, arXiv 2310.12036, equation 17), on log-ratios per token.

    `lengths` (pairs, 2) are the tokens of both answers. The paper's tau is `beta`.
    """
    counts = lengths.clamp(min=1)
    return (chosen / counts[:, 0] - rejected / counts[:, 1] - 1 / (2 * beta)) ** 2


def kto_pair_loss(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """KTO on pairs (Ethayarajh et al. 2024, arXiv 2402.01306, equation 7), as TRL had it to 0.8.

    The KL term of one half is estimated by the mean log-ratio of the other half of the batch, not
    below 0 and without a gradient. The loss of a pair is the mean of its two halves.
    """
    chosen_kl = chosen.detach().mean().clamp(min=0)
    rejected_kl = rejected.detach().mean().clamp(min=0)
    better = 1 - torch.sigmoid(beta * (chosen - rejected_kl))
    worse = 1 - torch.sigmoid(beta * (chosen_kl - rejected))
    return (better + worse) / 2


def bco_loss(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """Binary classifier optimisation (Jung et al. 2024, arXiv 2404.04656): both answers classified
    by their reward, which is zero where the policy equals the reference (no reward shift)."""
    return -logsigmoid(beta * chosen) - logsigmoid(-beta * rejected)


def log_odds(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """log of the odds ratio of two answers, from their mean log-probabilities per token."""
    return (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))


def orpo_loss(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    """The odds-ratio part of ORPO (Hong et al. 2024, arXiv 2403.07691, equation 7; lambda is
    `beta`), over mean log-probabilities per token. Its other part is the SFT loss on prompt and
    chosen answer."""
    return -beta * logsigmoid(log_odds(chosen, rejected))


def simpo_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, beta: float, gamma: float
) -> torch.Tensor:
    """SimPO (Meng et al. 2024, arXiv 2405.14734, equation 6), over mean log-probabilities per
    token; `gamma` is the margin that the reward of the chosen answer has to keep."""
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def desensitised(table: torch.Tensor, lengths: torch.Tensor, alpha: float) -> torch.Tensor:
    """LD-DPO's log-probabilities (Liu et al. 2024, arXiv 2409.06411): what an answer has beyond the
    length of the shorter one counts `alpha`, from 0 (not at all) to 1 (plain sums).

    `table` (2 * pairs, longest) holds the log-probability of each token, chosen answers first, 0
    right of an answer's end. Returns shape (2 * pairs,).
    """
    shared = lengths.min(dim=1).values.repeat(2).unsqueeze(1)
    inside = torch.arange(table.shape[1], device=table.device) < shared
    return torch.where(inside, table, alpha * table).sum(dim=1)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation (Mächler 2012)."""
    return torch.where(
        x < -0.6931471805599453, torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x))
    )


@dataclass(frozen=True)
class Preference:
    """The settings of a run's preference loss; see the functions above for their meaning.

    `sft_weight` and `bco_weight` add those losses to the main one.
    """

    loss: PairLoss = "sigmoid"
    beta: float = 0.1
    smoothing: float = 0.0
    gamma: float = 0.5
    ld_alpha: float | None = None
    sft_weight: float = 0.0
    bco_weight: float = 0.0

    @property
    def needs_reference(self) -> bool:
        """Whether log-probabilities of a reference model go in."""
        return self.loss not in ("orpo", "simpo")

    @property
    def learns_prompt(self) -> bool:
        """Whether the SFT loss counts the prompt too, as ORPO's does."""
        return self.loss == "orpo"

    @property
    def has_sft(self) -> bool:
        return self.loss == "orpo" or self.sft_weight > 0

    def scores(self, table: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of whole answers from those of their tokens: sums, or means per token
        for the losses without a reference. Shapes as in `desensitised`."""
        if not self.needs_reference:
            return table.sum(dim=1) / lengths.T.reshape(-1).clamp(min=1)
        if self.ld_alpha is None:
            return table.sum(dim=1)
        return desensitised(table, lengths, self.ld_alpha)

    def of(
        self, chosen: torch.Tensor, rejected: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each pair, SFT left out, from log-ratios (mean log-probabilities for the
        losses without a reference)."""
        beta = self.beta
        losses: dict[str, Callable[[], torch.Tensor]] = {
            "sigmoid": lambda: sigmoid_loss(chosen, rejected, beta, self.smoothing),
            "robust": lambda: robust_loss(chosen, rejected, beta, self.smoothing),
            "hinge": lambda: hinge_loss(chosen, rejected, beta),
            "ipo": lambda: ipo_loss(chosen, rejected, lengths, beta),
            "kto_pair": lambda: kto_pair_loss(chosen, rejected, beta),
            "orpo": lambda: orpo_loss(chosen, rejected, beta),
            "simpo": lambda: simpo_loss(chosen, rejected, beta, self.gamma),
        }
        found = losses[self.loss]()
        if self.bco_weight and self.needs_reference:
            found = found + self.bco_weight * bco_loss(chosen, rejected, beta)
        return found
