"""The divergence is TRL's, and its ends are the two KLs."""

from __future__ import annotations

import numpy
import pytest
import torch
from trl.experimental.gkd import GKDTrainer

from engine.training.distil.divergence import generalised_jsd

TOKENS, VOCABULARY = 9, 40


def two_logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (TOKENS, VOCABULARY)
    student = (2 * torch.randn(shape, generator=generator)).requires_grad_()
    return student, 3 * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_value_and_gradient_equal_trls(beta: float, temperature: float) -> None:
    student, teacher = two_logits()
    ours = generalised_jsd(student, teacher, beta, temperature)
    assert ours.shape == (TOKENS,)
    ours.sum().backward()
    gradient, student.grad = student.grad, None
    theirs = GKDTrainer.generalized_jsd_loss(
        student[None], teacher[None], beta=beta, temperature=temperature, reduction="sum"
    )
    theirs.backward()
    assert ours.sum().item() == pytest.approx(theirs.item(), abs=1e-5, rel=1e-6)
    assert torch.allclose(gradient, student.grad, atol=1e-5)


def test_ends_are_the_forward_and_the_reverse_kl() -> None:
    student, teacher = two_logits()
    p = torch.softmax(teacher.double(), -1).numpy()
    q = torch.softmax(student.detach().double(), -1).numpy()
    forward = (p * numpy.log(p / q)).sum(-1)
    reverse = (q * numpy.log(q / p)).sum(-1)
    assert generalised_jsd(student, teacher, 0.0).tolist() == pytest.approx(forward, rel=1e-4)
    assert generalised_jsd(student, teacher, 1.0).tolist() == pytest.approx(reverse, rel=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_equal_distributions_have_none(beta: float) -> None:
    student, _ = two_logits()
    found = generalised_jsd(student, student.detach() + 4.0, beta)
    assert found.abs().max().item() < 1e-5
