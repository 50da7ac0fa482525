"""The order of prompts: whole rounds, every prompt asked, a function of seed and epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from engine.training.dataset import EpochSampler
from engine.training.groups.order import GroupSampler

COUNTS = st.integers(1, 40), st.integers(1, 6), st.integers(2, 5), st.integers(1, 4)


@given(*COUNTS, st.integers(0, 3))
def test_rounds_are_whole_and_every_prompt_is_asked(
    rows: int, prompts: int, answers: int, repeats: int, epoch: int
) -> None:
    def sampler() -> GroupSampler:
        return GroupSampler(
            EpochSampler([1] * rows, "random", 5, prompts), prompts, answers, repeats
        )

    asked = sampler()
    asked.set_epoch(epoch)
    order = list(asked)
    assert len(order) == len(asked) == asked.rounds * prompts * answers * repeats
    size = prompts * answers
    rounds = [order[i : i + size] for i in range(0, len(order), size)]
    for number in range(asked.rounds):
        same = rounds[number * repeats : (number + 1) * repeats]
        assert all(part == same[0] for part in same)
        groups = [same[0][i : i + answers] for i in range(0, size, answers)]
        assert all(len(set(group)) == 1 for group in groups)
    firsts = [row for part in rounds[::repeats] for row in part[::answers]]
    assert set(firsts) == set(range(rows))
    assert len(firsts) - rows < prompts  # no more is asked twice than fills the last round
    again = sampler()
    list(again)  # an epoch that was gone through before changes nothing
    again.set_epoch(epoch)
    assert list(again) == order


def test_no_rows_are_no_rounds() -> None:
    assert list(GroupSampler(EpochSampler([], "random", 0, 2), 2, 2, 1)) == []
