"""The arithmetic of PPO, apart from any model: plain functions of tensors.

All matrices are (answers, tokens): row i holds what belongs to the tokens of answer i from its
first token on, filled up on the right; `mask` is true at real tokens. PPO itself is Schulman et
al., 2017 (arXiv:1707.06347); for language models with a KL penalty, Ziegler et al., 2019
(arXiv:1909.08593) and Stiennon et al., 2020 (arXiv:2009.01325).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

DISCOUNT = 1.0
GAE_LAMBDA = 0.95
CLIP_RATIO = 0.2
CLIP_VALUE = 0.2
VALUE_COEFFICIENT = 0.1
KL_HORIZON = 10_000
_EPSILON = 1e-8


# -- means over real tokens ------------------------------------------------------------------


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens, 0 where there are none; what stands elsewhere (NaN, too) is
    not looked at."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)


def masked_whiten(
    values: torch.Tensor, mask: torch.Tensor, *, keep_mean: bool = False
) -> torch.Tensor:
    """Values with variance 1 over the real tokens and mean 0 (or, with `keep_mean`, their own).

    The variance is the unbiased one. A single token has none, and is only shifted. 0 elsewhere.
    """
    mean = masked_mean(values, mask)
    spread = torch.where(mask, values - mean, torch.zeros_like(values))
    count = mask.sum()
    variance = spread.square().sum() / (count - 1).clamp(min=1)
    white = spread * torch.rsqrt(variance + _EPSILON) if count > 1 else spread
    if keep_mean:
        white = white + mean
    return torch.where(mask, white, torch.zeros_like(white))


# -- rewards -----------------------------------------------------------------------------------


def token_kl(
    logprobs: torch.Tensor, reference_logprobs: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """log p(token) − log p_reference(token): each token's share of the KL from the reference.

    Its sum over an answer estimates the KL without bias (Ziegler et al., 2019, eq. 2); a single
    value may be negative. 0 outside of answers.
    """
    return torch.where(mask, logprobs - reference_logprobs, torch.zeros_like(logprobs))


def token_rewards(
    scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, kl_coefficient: float
) -> torch.Tensor:
    """−β · KL at every token, and at an answer's last token its score on top.

    `scores` (answers,). Source: Ziegler et al., 2019, eq. 2, spread over tokens as in Stiennon et
    al., 2020. An answer without a token gets nothing.
    """
    rewards = torch.where(mask, -kl_coefficient * kl, torch.zeros_like(kl))
    lengths = mask.sum(1)
    rows = (lengths > 0).nonzero().squeeze(1)
    rewards[rows, lengths[rows] - 1] += scores[rows].to(rewards.dtype)
    return rewards


def advantages_and_returns(
    rewards: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    *,
    discount: float = DISCOUNT,
    smoothing: float = GAE_LAMBDA,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantages and what the values should have been.

    δ_t = r_t + γ·V_{t+1} − V_t and A_t = δ_t + γλ·A_{t+1} backwards from the last token, behind
    which V and A are 0; returns are A + V. Source: Schulman et al., 2015 (arXiv:1506.02438),
    eq. 16. Not whitened. 0 outside of answers.
    """
    values = torch.where(mask, values, torch.zeros_like(values))
    rewards = torch.where(mask, rewards, torch.zeros_like(rewards))
    columns = values.shape[1]
    advantages = torch.zeros_like(values)
    behind = torch.zeros_like(values[:, 0]) if columns else values.sum(1)
    for place in reversed(range(columns)):
        following = values[:, place + 1] if place + 1 < columns else torch.zeros_like(behind)
        delta = rewards[:, place] + discount * following - values[:, place]
        behind = torch.where(
            mask[:, place], delta + discount * smoothing * behind, torch.zeros_like(delta)
        )
        advantages[:, place] = behind
    return advantages, advantages + values


# -- losses ------------------------------------------------------------------------------------


def policy_losses(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    clip: float = CLIP_RATIO,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token's max(−A·ρ, −A·clip(ρ, 1 − ε, 1 + ε)), and whether the clipped one was taken.

    ρ is the new probability over the one that the token was drawn with. Source: Schulman et al.,
    2017, eq. 7.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.maximum(free, clipped), clipped > free


def value_losses(
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    clip: float = CLIP_VALUE,
) -> torch.Tensor:
    """Each token's ½·max((V − R)², (V_clipped − R)²), V kept within ε of what it was.

    Source: Schulman et al., 2017, section 5, with the clipping of its authors' implementation.
    """
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


# -- what is kept from step to step --------------------------------------------------------------


def next_kl_coefficient(
    coefficient: float, kl: float, target: float, answers: int, horizon: int = KL_HORIZON
) -> float:
    """β for the next step: raised where the KL is above its target, lowered below it.

    β·(1 + e·n / horizon) with e = KL / target − 1 kept within ±0.2, n the number of answers and
    `kl` the mean over answers of their summed KL, in nats. Source: Ziegler et al., 2019, section
    2.2.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * answers / horizon)


@dataclass(frozen=True)
class Moments:
    """The mean and variance of all scores so far (Chan, Golub and LeVeque, 1979).

    `spread` is the sum of squared distances from the mean.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0

    def with_scores(self, scores: torch.Tensor) -> Moments:
        """These and `scores` (answers,) together."""
        added = scores.numel()
        if not added:
            return self
        new = scores.double()
        mean = float(new.mean())
        spread = float((new - mean).square().sum())
        count = self.count + added
        apart = mean - self.mean
        return replace(
            self,
            count=count,
            mean=self.mean + apart * added / count,
            spread=self.spread + spread + apart * apart * self.count * added / count,
        )

    @property
    def deviation(self) -> float:
        """The unbiased standard deviation; 1 while it can't be told, or is 0."""
        if self.count < 2 or self.spread <= 0.0:
            return 1.0
        return float((self.spread / (self.count - 1)) ** 0.5)

    def normalised(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores less the mean, in standard deviations."""
        return (scores - self.mean) / self.deviation
