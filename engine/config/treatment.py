"""What becomes of every key that people's files hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from engine.config.absent_keys import NOT_HERE, Absent
from engine.config.catalogue import settings
from engine.config.later_keys import NOT_YET
from engine.config.later_values import LATER_VALUES
from engine.config.trainer_keys import PASSED_ON
from engine.config.translate import TRANSLATIONS

Kind = Literal["done", "passed on", "translated", "not here", "not here yet"]


@dataclass(frozen=True)
class Treatment:
    """What becomes of a key, and the sentence that says so."""

    kind: Kind
    text: str


@cache
def absent_keys() -> dict[str, tuple[Absent, Any, bool]]:
    """The keys that are refused: name → (its group, its default, whether a later issue brings it).

    A key of these that stands at its default is accepted.
    """
    return {
        key: (group, default, yet)
        for groups, yet in ((NOT_HERE, False), (NOT_YET, True))
        for group in groups
        for key, default in group.defaults.items()
    }


@cache
def _treatments() -> dict[str, Treatment]:
    found: dict[str, Treatment] = {
        name: Treatment("done", info.setting.help) for name, info in settings().items()
    }
    for name, values in LATER_VALUES.items():
        later = ", ".join(values)
        found[name] = Treatment("done", f"{found[name].text} Not here yet: {later}.")
    found["warmup_ratio"] = Treatment(
        "translated",
        f"{found['warmup_ratio'].text} Its name in today's trainer is warmup_steps, below 1.",
    )
    for name, (_, default) in PASSED_ON.items():
        found[name] = Treatment(
            "passed on", f"Goes to the trainer unchanged; its default there is {default!r}."
        )
    for name, translation in TRANSLATIONS.items():
        found[name] = Treatment("translated", translation.text)
    for name, (group, _, yet) in absent_keys().items():
        found[name] = Treatment("not here yet" if yet else "not here", group.text)
    return found


def treatments() -> dict[str, Treatment]:
    """Every known key and what becomes of it; any other key is unknown and refused."""
    return dict(_treatments())
