"""How full packing makes the rows of a run, told from its first rows before it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.datasets.packing import pack, pack_whole, packs, packs_whole
from engine.datasets.parallel import Telling, encoding
from engine.datasets.preparation import encode_rows, select, set_names
from engine.datasets.stage_rows import TokenRows, new_rows

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder

# Rows of a set that are packed on trial: two batches of the usual size.
_LOOKED_AT = 2000


@dataclass(frozen=True)
class PackingOutlook:
    """What `rows` rows come to, packed: `packed` rows, of whose positions the share `filled` holds
    a token; the longest has `longest` tokens."""

    rows: int
    packed: int
    filled: float
    longest: int

    @property
    def each(self) -> float:
        """Rows that lie in one packed row."""
        return self.rows / self.packed if self.packed else 1.0


def packing_outlook(config: RunConfig, encoder: Encoder) -> PackingOutlook | None:
    """How the first rows of the chosen sets pack; None where nothing is packed or can be read yet.

    Sets of a hub that were not fetched are left out. Raises BadInput where a set can't be read.
    """
    if not packs(config) and not packs_whole(config):
        return None
    most = min(config.max_samples or _LOOKED_AT, _LOOKED_AT)
    short = replace(config, max_samples=most)
    chosen = select(short, set_names(config.dataset), fetch=False).examples
    encode = encoding(encoder, "tokens", config.stage)
    size = config.preprocessing_batch_size
    told = Telling(None, None, len(chosen))
    rows, _ = encode_rows(
        chosen, new_rows("tokens"), lambda blocks: map(encode, blocks), [], told, size
    )
    return outlook_of(config, rows) if isinstance(rows, TokenRows) and len(rows) else None


def outlook_of(config: RunConfig, rows: TokenRows) -> PackingOutlook:
    """How these encoded rows pack."""
    length = config.cutoff_len
    if packs(config):
        made = pack(rows, length)
    else:
        made = pack_whole(rows, length, config.preprocessing_batch_size)
    longest = max(made.lengths(), default=0)
    return PackingOutlook(len(rows), len(made), made.tokens / (len(made) * length), longest)
