"""Losses over single tokens, for supervised fine-tuning.

Each is a plain function over the logits (tokens, vocabulary) of trained positions, their targets
(tokens,) and gives one loss a token, (tokens,); the training loss is their sum divided by the
trained tokens of the step. Logits come in fp32. Weights never carry a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

TokenLoss = Literal["plain", "dft", "asft", "eaft"]

# EAFT's entropy is that of the 20 likeliest tokens, made a distribution of its own. At most it is
# ln 20 = 2.996 nats; the published code divides by 3.
EAFT_TOP = 20
EAFT_SCALE = 3.0


@dataclass(frozen=True)
class TokenObjective:
    """Which loss a run trains with. `alpha` is ASFT's weight of the KL, or EAFT's exponent."""

    kind: TokenLoss = "plain"
    alpha: float = 0.0


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """-log p(target). `smoothing` moves that share of the target evenly onto all tokens."""
    return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def dft(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Dynamic fine-tuning: cross-entropy times the target's own probability (a constant).

    -sg[p(target)] log p(target): Wu et al. 2025, "On the Generalization of SFT", arXiv 2508.05629,
    equation 9. Tokens that the model finds unlikely pull less, so an untrained model has a small
    loss too: the loss may rise while the model learns. TRL's `loss_type="dft"` is the same.
    """
    losses = cross_entropy(logits, targets, smoothing)
    with torch.no_grad():
        plain = cross_entropy(logits, targets) if smoothing else losses
        weights = torch.exp(-plain)
    return losses * weights


def asft(
    logits: torch.Tensor,
    targets: torch.Tensor,
    reference: torch.Tensor,
    alpha: float,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Anchored supervised fine-tuning: DFT plus `alpha` times KL(reference || model).

    Zhu et al. 2025, "Anchored Supervised Fine-Tuning", arXiv 2509.23753. The paper writes the
    anchor as a KL to the base model; the direction is that of its published code, which takes the
    expectation under the reference (`F.kl_div(log_softmax(logits), softmax(reference))`), at the
    trained positions. `reference` are logits of the same shape, without gradients.
    """
    return dft(logits, targets, smoothing) + alpha * forward_kl(reference, logits)


def eaft(
    logits: torch.Tensor, targets: torch.Tensor, alpha: float, smoothing: float = 0.0
) -> torch.Tensor:
    """Entropy-adaptive fine-tuning: cross-entropy times (H / 3) ** alpha (a constant).

    H is the entropy in nats of the 20 likeliest tokens, normalised among themselves, so the weight
    runs from 0 (certain) to about 1. Where the model is sure of itself, and the target says
    otherwise, it is left alone. Diao et al. 2026, "Entropy-Adaptive Fine-Tuning", arXiv
    2601.02151, section 3, with the constants of its published code.
    """
    losses = cross_entropy(logits, targets, smoothing)
    with torch.no_grad():
        top = logits.topk(min(EAFT_TOP, logits.shape[-1]), dim=-1).values
        log_probs = functional.log_softmax(top, dim=-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        weights = (entropy / EAFT_SCALE) ** alpha
    return losses * weights


def forward_kl(reference: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(reference || model) of each position's next-token distribution, in nats, (tokens,).

    Gradients flow into `logits` only.
    """
    wanted = functional.log_softmax(reference.detach(), dim=-1)
    got = functional.log_softmax(logits, dim=-1)
    return (wanted.exp() * (wanted - got)).sum(-1)
