"""Whether an answer is the reference answer: as text, or by the number it ends with."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+]?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+)?"
)
_AROUND_NUMBERS = "$€£¥￥% \t\r\n"
_BOXED = "\\boxed{"
_MARKED = "####"  # what stands before the result in arithmetic sets of the GSM8K kind


def is_right(text: str, reference: str) -> bool:
    """Whether `text` gives the answer `reference`.

    It does where both are the same, capitals and outer space aside, or where the answer's last
    `\\boxed{}` is. Where the reference is a number, the number in the last `\\boxed{}` counts, and
    without one the last number of the answer. Thoughts (up to `</think>`) don't count. A reference
    that shows its work ends with `#### result` or `\\boxed{result}`: then the result counts too.
    """
    answer = final_answer(text)
    wanted = _result(reference)
    boxed = last_boxed(answer)
    given = [_plain(answer)] + ([] if boxed is None else [_plain(boxed)])
    if _plain(reference) in given or _plain(wanted) in given:
        return True
    number = as_number(wanted)
    if number is None:
        return False
    return last_number(answer if boxed is None else boxed) == number


def final_answer(text: str) -> str:
    """The answer without the thoughts before it, outer space taken off."""
    return text.rsplit("</think>", 1)[-1].strip()


def last_boxed(text: str) -> str | None:
    """What the last closed `\\boxed{}` holds, None where there is none."""
    start = text.rfind(_BOXED)
    while start >= 0:
        depth = 1
        begin = start + len(_BOXED)
        for place in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[begin:place]
        start = text.rfind(_BOXED, 0, start)
    return None


def as_number(text: str) -> Decimal | None:
    """The number that `text` is, signs of currency and per cent aside; None if it is none."""
    found = _with_plain_signs(text).strip(_AROUND_NUMBERS).rstrip(".")
    return _decimal(found) if _NUMBER.fullmatch(found) else None


def last_number(text: str) -> Decimal | None:
    """The last number in `text`; commas between thousands are part of it."""
    found = _NUMBER.findall(_with_plain_signs(text))
    return _decimal(found[-1]) if found else None


def _result(reference: str) -> str:
    if _MARKED in reference:
        return reference.rsplit(_MARKED, 1)[-1]
    boxed = last_boxed(reference)
    return reference if boxed is None else boxed


def _plain(text: str) -> str:
    return text.strip().casefold()


def _with_plain_signs(text: str) -> str:
    return text.replace("−", "-")


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:  # an exponent beyond all bounds
        return None
