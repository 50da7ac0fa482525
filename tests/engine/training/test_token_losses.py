"""Losses over tokens: against formulas written out, and against TRL's own DFT."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from engine.training.losses.tokens import asft, cross_entropy, dft, eaft, forward_kl

TOKENS, VOCABULARY = 7, 50


@pytest.fixture
def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (3 * torch.randn(TOKENS, VOCABULARY, generator=generator)).requires_grad_()


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.arange(TOKENS) * 5


def distribution(logits: torch.Tensor) -> numpy.ndarray:
    """Softmax in double precision, written out."""
    values = logits.detach().double().numpy()
    powers = numpy.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_cross_entropy_and_its_smoothing(logits, targets) -> None:
    p = distribution(logits)
    nll = [-math.log(p[i, t]) for i, t in enumerate(targets)]
    assert cross_entropy(logits, targets).tolist() == pytest.approx(nll, rel=1e-5)
    even = [-numpy.log(p[i]).mean() for i in range(TOKENS)]
    smoothed = [0.9 * one + 0.1 * other for one, other in zip(nll, even, strict=True)]
    assert cross_entropy(logits, targets, 0.1).tolist() == pytest.approx(smoothed, rel=1e-5)


def test_dft_is_the_loss_times_the_targets_probability(logits, targets) -> None:
    p = distribution(logits)
    expected = [-p[i, t] * math.log(p[i, t]) for i, t in enumerate(targets)]
    losses = dft(logits, targets)
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    # The probability is a constant: d loss / d logits = p(target) * (p - onehot).
    losses.sum().backward()
    for i, t in enumerate(targets.tolist()):
        wanted = p[i].copy()
        wanted[t] -= 1
        assert logits.grad[i].tolist() == pytest.approx((p[i, t] * wanted).tolist(), abs=1e-6)


def test_dft_weighs_a_smoothed_loss_by_the_probability_alone(logits, targets) -> None:
    p = distribution(logits)
    plain = cross_entropy(logits, targets, 0.2).tolist()
    expected = [p[i, t] * plain[i] for i, t in enumerate(targets)]
    assert dft(logits, targets, 0.2).tolist() == pytest.approx(expected, rel=1e-5)


def test_asft_adds_the_kl_of_the_reference_to_the_model(logits, targets) -> None:
    reference = torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(2))
    p, q = distribution(logits), distribution(reference)
    kl = (q * (numpy.log(q) - numpy.log(p))).sum(-1)
    expected = [-p[i, t] * math.log(p[i, t]) + 0.3 * kl[i] for i, t in enumerate(targets)]
    losses = asft(logits, targets, reference, 0.3)
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)
    losses.sum().backward()
    for i, t in enumerate(targets.tolist()):
        wanted = p[i].copy()
        wanted[t] -= 1
        whole = p[i, t] * wanted + 0.3 * (p[i] - q[i])
        assert logits.grad[i].tolist() == pytest.approx(whole.tolist(), abs=1e-6)


def test_asft_without_drift_is_dft(logits, targets) -> None:
    same = asft(logits, targets, logits.detach().clone(), 5.0)
    assert same.tolist() == pytest.approx(dft(logits, targets).tolist(), abs=1e-5)


def test_kl_carries_no_gradient_into_the_reference(logits) -> None:
    reference = torch.zeros(TOKENS, VOCABULARY, requires_grad=True)
    forward_kl(reference, logits).sum().backward()
    assert reference.grad is None and logits.grad is not None


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_eaft_weighs_by_the_entropy_of_the_twenty_likeliest(logits, targets, alpha) -> None:
    p = distribution(logits)
    expected, weights = [], []
    for i, t in enumerate(targets.tolist()):
        top = numpy.sort(p[i])[::-1][:20]
        top = top / top.sum()
        weights.append((-(top * numpy.log(top)).sum() / 3.0) ** alpha)
        expected.append(-weights[-1] * math.log(p[i, t]))
    losses = eaft(logits, targets, alpha)
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)
    losses.sum().backward()
    for i, t in enumerate(targets.tolist()):
        wanted = p[i].copy()
        wanted[t] -= 1
        assert logits.grad[i].tolist() == pytest.approx((weights[i] * wanted).tolist(), abs=1e-6)


def test_eaft_leaves_a_certain_model_alone_and_takes_small_vocabularies() -> None:
    certain = torch.tensor([[50.0, 0.0, 0.0]])
    assert eaft(certain, torch.tensor([1]), 1.0).item() == pytest.approx(0.0, abs=1e-6)
    even = torch.zeros(1, 3)
    expected = math.log(3) / 3.0 * math.log(3)
    assert eaft(even, torch.tensor([1]), 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_an_even_prediction_over_many_tokens_has_a_weight_of_about_one() -> None:
    even = torch.zeros(1, 100)
    weight = eaft(even, torch.tensor([0]), 1.0).item() / math.log(100)
    assert weight == pytest.approx(math.log(20) / 3.0, rel=1e-5)
