"""How far two next-token distributions are apart."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def generalised_jsd(
    student: torch.Tensor, teacher: torch.Tensor, beta: float, temperature: float = 1.0
) -> torch.Tensor:
    """The generalised Jensen-Shannon divergence of each position, in nats, (tokens,).

    `student` and `teacher` are logits (tokens, vocabulary), both divided by `temperature` first.
    With the mixture m = beta * teacher + (1 - beta) * student it is
    beta * KL(teacher || m) + (1 - beta) * KL(student || m); at its ends beta 0 is defined as the
    forward KL(teacher || student) and beta 1 as the reverse KL(student || teacher), the limits
    after division by beta and 1 - beta. Agarwal et al. 2023, arXiv 2306.13649, equation 1; equal
    to `GKDTrainer.generalized_jsd_loss` of TRL 1.16, which sums it. Gradients flow into `student`
    only.
    """
    ours = functional.log_softmax(student / temperature, dim=-1)
    theirs = functional.log_softmax(teacher.detach() / temperature, dim=-1)
    if beta == 0:
        return _kl(theirs, ours)
    if beta == 1:
        return _kl(ours, theirs)
    mixture = torch.logaddexp(ours + math.log1p(-beta), theirs + math.log(beta))
    return beta * _kl(theirs, mixture) + (1 - beta) * _kl(ours, mixture)


def _kl(of: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """KL(of || to) from log-probabilities."""
    return (of.exp() * (of - to)).sum(-1)
