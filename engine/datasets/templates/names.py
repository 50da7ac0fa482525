"""The named chat templates, and where the text of each comes from: data, no text of any."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.config.chat_templates import FURTHER, TEMPLATES, THINKING

_SOURCES = Path(__file__).with_name("sources.json")
# Ids without another source are those of this list.
HUB_IDS_FROM = "the model list of llamafactory 0.9.5"
# Further names that only a model's own template gives -> the family whose marks it writes.
_FURTHER_FAMILIES = {
    "falcon3": "zephyr",
    "gpt": "gpt_oss",
    "internlm2": "chatml",
    "marco": "chatml",
    "olmo2": "zephyr",
    "tulu": "zephyr",
}


@dataclass(frozen=True, slots=True)
class NamedTemplate:
    """A name and its sources, in the order they are asked.

    `family`: the model's own template gives it where it writes the marks of that family. `package`:
    the PyPI package llamafactory holds it. `hub`: a published tokenizer whose chat template it is
    (`hub_from` says where that id stands). `ours`: finetui writes it itself. `reads` is what its
    models take, `thinking` whether they write thoughts.
    """

    name: str
    reads: tuple[str, ...]
    thinking: bool
    family: str | None = None
    package: bool = False
    hub: str | None = None
    hub_from: str = ""
    ours: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the text may come from, in words; empty for a name that is not here."""
        found: tuple[str, ...] = ("finetui",) if self.ours else ()
        found += ("the model's own template",) if self.family else ()
        found += ("llamafactory",) if self.package else ()
        return (*found, self.hub) if self.hub else found


@cache
def named_templates() -> dict[str, NamedTemplate]:
    """Every name that `template` may hold."""
    listed = json.loads(_SOURCES.read_text(encoding="utf-8"))
    found = {}
    for name, reads in TEMPLATES.items():
        entry = listed.get(name, {})
        hub = entry.get("hub")
        found[name] = NamedTemplate(
            name=name,
            reads=reads,
            thinking=name in THINKING,
            family=entry.get("family"),
            package=bool(entry.get("package")),
            hub=hub,
            hub_from=entry.get("hub_from", HUB_IDS_FROM) if hub else "",
            ours=bool(entry.get("finetui")),
        )
    for name in FURTHER:
        found[name] = NamedTemplate(name, ("text",), False, _FURTHER_FAMILIES[name])
    return found
