"""What the check says of a fault, a sentence each: for one row, and for several.

Each sentence is one literal, so that it can be translated whole.
"""

from __future__ import annotations

from collections.abc import Callable

# The short words and the sentence, from how many rows and what was met in them.
Said = Callable[[int, str], tuple[str, str]]


def unusable(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return "1 row can't be used", "1 row can't be used."
    return f"{count:,} rows can't be used", f"{count:,} rows can't be used."


def masked(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "the template masks 1 row",
            "1 row has an answer that the template masks away: it drops or alters it.",
        )
    return (
        f"the template masks {count:,} rows",
        f"{count:,} rows have an answer that the template masks away: it drops or alters it.",
    )


def duplicate(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return "1 row repeats an earlier one", "1 row is the same as an earlier one."
    return (
        f"{count:,} rows repeat an earlier one",
        f"{count:,} rows are the same as an earlier one.",
    )


def same_answer(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "1 row repeats an answer",
            "1 row gives another question an answer that an earlier row gave.",
        )
    return (
        f"{count:,} rows repeat an answer",
        f"{count:,} rows give another question an answer that an earlier row gave.",
    )


def special(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "special tokens in 1 row",
            f"1 row holds marks that a template writes, as if a turn began or ended there ({met}).",
        )
    return (
        f"special tokens in {count:,} rows",
        f"{count:,} rows hold marks that a template writes, as if a turn began or ended there "
        f"({met}).",
    )


def placeholder(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "placeholders in 1 row",
            f"1 row holds a placeholder that nobody filled in ({met}).",
        )
    return (
        f"placeholders in {count:,} rows",
        f"{count:,} rows hold a placeholder that nobody filled in ({met}).",
    )


def control(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return "control characters in 1 row", f"1 row holds control characters ({met})."
    return (
        f"control characters in {count:,} rows",
        f"{count:,} rows hold control characters ({met}).",
    )


def replaced(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "damaged text in 1 row",
            "1 row holds the replacement character: letters were lost when the file was made "
            f"({met}).",
        )
    return (
        f"damaged text in {count:,} rows",
        f"{count:,} rows hold the replacement character: letters were lost when the file was made "
        f"({met}).",
    )


def mojibake(count: int, met: str) -> tuple[str, str]:
    if count == 1:
        return (
            "wrongly decoded text in 1 row",
            f"1 row holds UTF-8 that was once read in another encoding ({met}).",
        )
    return (
        f"wrongly decoded text in {count:,} rows",
        f"{count:,} rows hold UTF-8 that was once read in another encoding ({met}).",
    )


def one_sided(label: bool) -> tuple[str, str]:
    """Of feedback that is all of one kind."""
    if label:
        return "every row is liked", "Every row is marked as liked: kto learns from both kinds."
    return "no row is liked", "No row is marked as liked: kto learns from both kinds."


def cut(count: int, share: float, cutoff: int, lost: int, total: int) -> tuple[str, str]:
    """Of rows that the cutoff cuts: `lost` of `total` tokens."""
    short = f"{share:.1%} cut at {cutoff:,} tokens"
    if count == 1:
        return (
            short,
            f"1 row ({share:.1%}) is cut at {cutoff:,} tokens; {lost:,} of {total:,} tokens are "
            "lost.",
        )
    return (
        short,
        f"{count:,} rows ({share:.1%}) are cut at {cutoff:,} tokens; {lost:,} of {total:,} tokens "
        "are lost.",
    )


# What texts may hold, in the order in which it is told.
OF_TEXTS: dict[str, Said] = {
    "special": special,
    "placeholder": placeholder,
    "control": control,
    "replaced": replaced,
    "mojibake": mojibake,
}
