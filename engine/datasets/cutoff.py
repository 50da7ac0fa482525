"""What stays of a row that is longer than the cutoff.

The room is shared out turn by turn, in order, as the usual tool does it: turns that fit are kept
whole; of the first that does not fit, a short answer is kept and its prompt cut, a short prompt is
kept and its answer cut, and two long ones are cut in proportion. Each part loses its end, but a
prompt keeps the words that open the answer's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def share(prompt: int, answer: int, room: int) -> tuple[int, int]:
    """Tokens that stay of a prompt and its answer in `room` tokens."""
    if answer * 2 < room:
        most = room
    elif prompt * 2 < room:
        most = room - prompt
    else:
        most = int(room * (answer / (prompt + answer)))
    answer_kept = min(most, answer)
    return min(max(room - answer_kept, 0), prompt), answer_kept


def kept(
    answers: Sequence[tuple[int, int]],
    length: int,
    room: int,
    header: Callable[[int], int],
    last_first: bool = False,
) -> list[bool]:
    """For each of `length` tokens, whether it stays. `answers` are token ranges, in order.

    `header(k)` is how many tokens before answer k open its turn. `last_first` gives the room to
    the last turns first (where only the last answer is trained).
    """
    stays = [False] * length
    turns: list[tuple[int, int, int]] = []
    end = 0
    for start, stop in answers:
        turns.append((end, start, stop))
        end = stop
    if end < length:
        turns.append((end, length, length))
    order = range(len(turns) - 1, -1, -1) if last_first else range(len(turns))
    for k in order:
        if room <= 0:
            break
        begin, start, stop = turns[k]
        prompt, answer = share(start - begin, stop - start, room)
        tail = 0
        if prompt < start - begin and k < len(answers):
            tail = min(header(k), prompt)
        for place in (*range(begin, begin + prompt - tail), *range(start - tail, start + answer)):
            stays[place] = True
        room -= prompt + answer
    return stays
