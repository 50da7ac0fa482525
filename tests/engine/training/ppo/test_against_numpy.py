"""PPO's arithmetic against the same formulas written down once more, in numpy, number by number.

Nothing is shared with `engine.training.ppo.math`: every quantity is computed answer by answer and
token by token, on lists of the real tokens only, where ours works on padded matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.training.ppo import math as ours

TOLERANCE = 1e-5


@dataclass
class Problem:
    """A few answers of uneven length, with everything that a PPO step reads."""

    lengths: list[int]
    new: list[np.ndarray]
    old: list[np.ndarray]
    reference: list[np.ndarray]
    new_values: list[np.ndarray]
    old_values: list[np.ndarray]
    scores: np.ndarray


def make_problem(seed: int, answers: int = 5, longest: int = 7) -> Problem:
    draw = np.random.default_rng(seed)
    lengths = [int(n) for n in draw.integers(1, longest + 1, answers)]

    def each(scale: float, shift: float = 0.0) -> list[np.ndarray]:
        return [draw.normal(shift, scale, n) for n in lengths]

    old = each(0.8, -2.0)
    values = each(0.6)
    return Problem(
        lengths=lengths,
        old=old,
        new=[row + draw.normal(0, 0.25, row.size) for row in old],
        reference=[row + draw.normal(0, 0.4, row.size) for row in old],
        old_values=values,
        new_values=[row + draw.normal(0, 0.3, row.size) for row in values],
        scores=draw.normal(0.3, 1.5, answers),
    )


# -- the reference --------------------------------------------------------------------------------


def ref_whiten(rows: list[np.ndarray], keep_mean: bool) -> list[np.ndarray]:
    flat = np.concatenate(rows)
    mean = flat.mean()
    variance = flat.var(ddof=1) if flat.size > 1 else None
    out = []
    for row in rows:
        white = (row - mean) / math.sqrt(variance + 1e-8) if variance is not None else row - mean
        out.append(white + mean if keep_mean else white)
    return out


def ref_step(problem: Problem, beta: float, whiten_rewards: bool) -> dict[str, object]:
    gamma, lam = 1.0, 0.95
    kl = [o - r for o, r in zip(problem.old, problem.reference, strict=True)]
    rewards = []
    for row, score in zip(kl, problem.scores, strict=True):
        reward = [-beta * k for k in row]
        reward[-1] += score
        rewards.append(np.array(reward))
    if whiten_rewards:
        rewards = ref_whiten(rewards, keep_mean=True)
    advantages, returns = [], []
    for reward, value in zip(rewards, problem.old_values, strict=True):
        n = len(reward)
        # From the definition: a discounted sum of the temporal differences that follow.
        delta = [
            reward[t] + gamma * (value[t + 1] if t + 1 < n else 0.0) - value[t] for t in range(n)
        ]
        advantage = np.array(
            [sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, n)) for t in range(n)]
        )
        advantages.append(advantage)
        returns.append(advantage + value)
    white = ref_whiten(advantages, keep_mean=False)
    policy, value_loss, clipped = 0.0, 0.0, 0
    for i, n in enumerate(problem.lengths):
        for t in range(n):
            ratio = math.exp(problem.new[i][t] - problem.old[i][t])
            a = white[i][t]
            free, kept = -a * ratio, -a * min(max(ratio, 0.8), 1.2)
            policy += max(free, kept)
            clipped += kept > free
            v, v0, target = problem.new_values[i][t], problem.old_values[i][t], returns[i][t]
            near = min(max(v, v0 - 0.2), v0 + 0.2)
            value_loss += 0.5 * max((v - target) ** 2, (near - target) ** 2)
    tokens = sum(problem.lengths)
    return {
        "kl": kl,
        "rewards": rewards,
        "advantages": white,
        "returns": returns,
        "policy": policy / tokens,
        "value": value_loss / tokens,
        "loss": policy / tokens + 0.1 * value_loss / tokens,
        "clip_share": clipped / tokens,
    }


# -- ours, on padded matrices ----------------------------------------------------------------------


def padded(rows: list[np.ndarray], fill: float) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    out = torch.full((len(rows), longest), fill, dtype=torch.float64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.from_numpy(np.asarray(row))
    return out


def our_step(
    problem: Problem, beta: float, whiten_rewards: bool, fill: float
) -> dict[str, torch.Tensor]:
    mask = padded([np.ones(n) for n in problem.lengths], 0.0).bool()
    old, reference = padded(problem.old, fill), padded(problem.reference, fill)
    kl = ours.token_kl(old, reference, mask)
    rewards = ours.token_rewards(torch.from_numpy(problem.scores), kl, mask, beta)
    if whiten_rewards:
        rewards = ours.masked_whiten(rewards, mask, keep_mean=True)
    old_values = padded(problem.old_values, fill)
    advantages, returns = ours.advantages_and_returns(rewards, old_values, mask)
    advantages = ours.masked_whiten(advantages, mask)
    policy, clipped = ours.policy_losses(padded(problem.new, fill), old, advantages)
    value = ours.value_losses(padded(problem.new_values, fill), old_values, returns)
    policy, value = ours.masked_mean(policy, mask), ours.masked_mean(value, mask)
    return {
        "mask": mask,
        "kl": kl,
        "rewards": rewards,
        "advantages": advantages,
        "returns": returns,
        "policy": policy,
        "value": value,
        "loss": policy + ours.VALUE_COEFFICIENT * value,
        "clip_share": ours.masked_mean(clipped.double(), mask),
    }


def assert_rows(got: torch.Tensor, expected: list[np.ndarray]) -> None:
    for row, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(row[: len(want)].numpy(), want, rtol=0, atol=TOLERANCE)
        assert not row[len(want) :].any()


@pytest.mark.parametrize("whiten_rewards", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_step_equals_the_reference(seed: int, beta: float, whiten_rewards: bool) -> None:
    problem = make_problem(seed)
    want = ref_step(problem, beta, whiten_rewards)
    got = our_step(problem, beta, whiten_rewards, fill=0.0)
    for name in ("kl", "rewards", "advantages", "returns"):
        assert_rows(got[name], want[name])
    for name in ("policy", "value", "loss", "clip_share"):
        assert float(got[name]) == pytest.approx(want[name], abs=TOLERANCE)


def test_the_problems_reach_both_sides_of_each_clip() -> None:
    """Otherwise the comparison above would say nothing of the clipping."""
    shares = [float(our_step(make_problem(s), 0.2, False, 0.0)["clip_share"]) for s in range(8)]
    assert 0.05 < sum(shares) / len(shares) < 0.95
    moved = [
        abs(v - o) > 0.2
        for s in range(8)
        for row, old in zip(make_problem(s).new_values, make_problem(s).old_values, strict=True)
        for v, o in zip(row, old, strict=True)
    ]
    assert 0.1 < sum(moved) / len(moved) < 0.9


@pytest.mark.parametrize("fill", [1e9, float("nan"), float("-inf")])
def test_what_stands_behind_an_answer_is_not_looked_at(fill: float) -> None:
    problem = make_problem(3)
    clean, dirty = our_step(problem, 0.2, True, 0.0), our_step(problem, 0.2, True, fill)
    for name, value in clean.items():
        assert torch.equal(value, dirty[name]), name


def test_the_gradient_is_that_of_the_reference() -> None:
    """d loss / d logprob by central differences of the numpy loss."""
    problem = make_problem(5)
    got = our_step(problem, 0.2, False, 0.0)
    mask, old = got["mask"], padded(problem.old, 0.0)
    new = padded(problem.new, 0.0).requires_grad_()
    policy, _ = ours.policy_losses(new, old, got["advantages"])
    ours.masked_mean(policy, mask).backward()
    step = 1e-6
    for i, n in enumerate(problem.lengths):
        for t in range(n):
            losses = []
            for sign in (1, -1):
                moved = make_problem(5)
                moved.new[i][t] += sign * step
                losses.append(ref_step(moved, 0.2, False)["policy"])
            slope = (losses[0] - losses[1]) / (2 * step)
            assert float(new.grad[i, t]) == pytest.approx(slope, abs=1e-4)


# -- KL control and moments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.2),  # on target
        (6.6, 0.2 * (1 + 0.1 * 64 / 10_000)),
        (60.0, 0.2 * (1 + 0.2 * 64 / 10_000)),  # the error is clipped
        (0.0, 0.2 * (1 - 0.2 * 64 / 10_000)),
        (-3.0, 0.2 * (1 - 0.2 * 64 / 10_000)),
    ],
)
def test_kl_controller(kl: float, expected: float) -> None:
    assert ours.next_kl_coefficient(0.2, kl, 6.0, 64) == pytest.approx(expected, rel=1e-12)


def test_kl_controller_holds_a_target() -> None:
    """A policy whose KL falls as β grows ends at the target."""
    beta = 0.01
    for _ in range(20_000):
        beta = ours.next_kl_coefficient(beta, 1.2 / beta, 6.0, 64)
    assert 1.2 / beta == pytest.approx(6.0, rel=1e-3)


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=0, max_size=9), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_running_moments_are_those_of_all_scores(batches: list[list[float]]) -> None:
    moments = ours.Moments()
    for batch in batches:
        moments = moments.with_scores(torch.tensor(batch, dtype=torch.float64))
    flat = np.array([x for batch in batches for x in batch])
    assert moments.count == flat.size
    if flat.size:
        assert moments.mean == pytest.approx(flat.mean(), abs=1e-6)
    if flat.size > 1 and flat.std() > 1e-6 * max(1.0, abs(flat).max()):
        assert moments.deviation == pytest.approx(flat.std(ddof=1), rel=1e-6)
        normal = moments.normalised(torch.from_numpy(flat)).numpy()
        np.testing.assert_allclose(normal, (flat - flat.mean()) / flat.std(ddof=1), atol=TOLERANCE)


# -- masks --------------------------------------------------------------------------------

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@given(LENGTHS, st.integers(0, 3), st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_more_padding_changes_nothing(lengths: list[int], more: int, seed: int) -> None:
    """Answers without a token, a batch without any, and any width of padding included."""
    draw = torch.Generator().manual_seed(seed)
    width = max(lengths)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]

    def matrix() -> torch.Tensor:
        return torch.randn(len(lengths), width, generator=draw, dtype=torch.float64)

    scores = torch.randn(len(lengths), generator=draw, dtype=torch.float64)
    old, reference, values = matrix(), matrix(), matrix()

    def run(pad: int) -> tuple[torch.Tensor, ...]:
        def wide(x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(x, (0, pad), value=0 if x.dtype == torch.bool else 9.0)

        m = wide(mask)
        kl = ours.token_kl(wide(old), wide(reference), m)
        rewards = ours.token_rewards(scores, kl, m, 0.3)
        advantages, returns = ours.advantages_and_returns(rewards, wide(values), m)
        white = ours.masked_whiten(advantages, m)
        outs = (kl, rewards, advantages, returns, white)
        return (*(x[:, :width] for x in outs), ours.masked_mean(white, m))

    for narrow, wide in zip(run(0), run(more), strict=True):
        torch.testing.assert_close(narrow, wide, rtol=0, atol=1e-9)
        assert torch.isfinite(narrow).all()


@given(LENGTHS, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_whitened_has_mean_0_and_variance_1(lengths: list[int], seed: int) -> None:
    width = max(lengths)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    draw = torch.Generator().manual_seed(seed)
    values = 5 + 3 * torch.randn(len(lengths), width, generator=draw, dtype=torch.float64)
    white = ours.masked_whiten(values, mask)[mask]
    if white.numel() > 1:
        assert float(white.mean()) == pytest.approx(0, abs=1e-9)
        assert float(white.var()) == pytest.approx(1, abs=1e-6)
    kept = ours.masked_whiten(values, mask, keep_mean=True)[mask]
    if kept.numel():
        assert float(kept.mean()) == pytest.approx(float(values[mask].mean()), abs=1e-9)


@given(LENGTHS, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_without_discount_an_answers_returns_are_what_is_still_to_come(
    lengths: list[int], seed: int
) -> None:
    """λ = 1, γ = 1: returns are the sums of the rewards that follow, whatever the values say."""
    width = max(lengths)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    draw = torch.Generator().manual_seed(seed)
    rewards, values = (
        torch.randn(len(lengths), width, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    _, returns = ours.advantages_and_returns(rewards, values, mask, discount=1.0, smoothing=1.0)
    left = torch.where(mask, rewards, torch.zeros_like(rewards))
    togo = left.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns, torch.where(mask, togo, torch.zeros_like(togo)))
