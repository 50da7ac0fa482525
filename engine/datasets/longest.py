"""The longest rows of a run's sets, found without encoding all of them: for forecasts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.datasets.encode import Encoder, packs
from engine.datasets.example import Example
from engine.datasets.parallel import Telling, encoding
from engine.datasets.preparation import encode_rows, select, set_names
from engine.datasets.stage_rows import PartRows, TokenRows, form_of, new_rows

if TYPE_CHECKING:
    from engine.config import RunConfig

# Rows of a set that are looked at, and of all of them those that are encoded: by their characters
# the longest ones, and the first ones.
_LOOKED_AT = 20_000
_LONGEST = 48
_FIRST = 48
# A picture, video or sound takes some hundreds of tokens: as many as this many characters.
_OF_A_MEDIUM = 2_000


def sample_rows(config: RunConfig, encoder: Encoder) -> TokenRows | PartRows | None:
    """The likely longest rows of the chosen sets and the first ones, encoded as for the run.

    A row's characters tell its tokens well enough to find the longest among many. None where texts
    are packed: their rows are as long as cutoff_len. Sets of a hub that were not fetched are left
    out. Raises BadInput where the sets can't be read.
    """
    if packs(config):
        return None
    most = min(config.max_samples or _LOOKED_AT, _LOOKED_AT)
    # What a look at the form fetched would be a surprise.
    short = replace(config, max_samples=most)
    chosen = select(short, set_names(config.dataset), fetch=False).examples
    by_length = sorted(chosen, key=lambda pair: -_characters(pair[1]))
    # The first ones stand first, so that what rows have in common is seen on usual rows too.
    picked = [*chosen[:_FIRST], *by_length[:_LONGEST]]
    form = form_of(config.stage, config.distill_on == "samples")
    encode = encoding(encoder, form, config.stage)
    told = Telling(None, None, len(picked))
    size = max(1, len(picked))
    rows, _ = encode_rows(
        picked, new_rows(form), lambda blocks: map(encode, blocks), [], told, size
    )
    return rows


def _characters(example: Example) -> int:
    size = len(example.text) + len(example.system) + len(example.media) * _OF_A_MEDIUM
    size += sum(len(message.content) + len(message.thoughts) for message in example.messages)
    answers = [m for m in (example.chosen, example.rejected) if m is not None]
    return size + max((len(message.content) for message in answers), default=0)
