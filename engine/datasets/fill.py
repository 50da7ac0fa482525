"""The bundled identity set's placeholders, filled in with the assistant's name and maker.

Everywhere else `{{name}}` is ordinary text: somebody's template exercise must stay what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from engine.datasets.example import Example, Message
from engine.paths import bundled_data_dir

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.dataset_info import DatasetInfo

PLACEHOLDER = re.compile(r"\{\{\s*(name|author)\s*\}\}")


@dataclass(frozen=True)
class Fill:
    """What the placeholders become; a value that is empty leaves its placeholder as it is."""

    name: str | None = None
    author: str | None = None

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """As a run's settings have it."""
        return cls(config.identity_name, config.identity_author)

    def text(self, text: str) -> str:
        values = {"name": self.name, "author": self.author}
        return PLACEHOLDER.sub(lambda found: values[found[1]] or found[0], text)

    def message(self, message: Message) -> Message:
        if "{{" not in message.content:
            return message
        return replace(message, content=self.text(message.content))

    def example(self, example: Example) -> Example:
        """The example with its texts filled in; nothing else is touched."""
        return replace(
            example,
            messages=tuple(self.message(message) for message in example.messages),
            system=self.text(example.system),
            chosen=self.message(example.chosen) if example.chosen else None,
            rejected=self.message(example.rejected) if example.rejected else None,
            text=self.text(example.text),
        )


def is_filled(info: DatasetInfo) -> bool:
    """Whether this is the bundled identity set, or an unchanged copy of its file."""
    path = info.path
    if info.name != "identity" or path is None or not path.is_file():
        return False
    bundled = bundled_data_dir() / "identity.json"
    if not bundled.is_file():
        return False
    return path.samefile(bundled) or (
        path.stat().st_size == bundled.stat().st_size and path.read_bytes() == bundled.read_bytes()
    )


def has_placeholders(example: Example) -> bool:
    """Whether a placeholder is still there, for a note to the person."""
    texts = [example.system, example.text, *(message.content for message in example.messages)]
    texts += [message.content for message in (example.chosen, example.rejected) if message]
    return any(PLACEHOLDER.search(text) for text in texts)
