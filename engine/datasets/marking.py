"""Where tokens stand in their text, so that what is trained can be told from what isn't."""

from __future__ import annotations

from tokenizers import Encoding


def starts_of(encoding: Encoding) -> list[int]:
    """Where each token begins in the text, never falling.

    Byte-level tokenizers leave blanks out of their offsets, and give each piece of a character
    that spans several tokens the whole character: a token begins where the one before it ended,
    and a further piece of a character where that character began.
    """
    starts: list[int] = []
    reached = 0
    for start, end in encoding.offsets:
        begin = min(start, reached) if end <= reached else reached
        starts.append(max(begin, starts[-1]) if starts else 0)
        reached = max(reached, end)
    return starts
