"""Media through a model's whole processor: the words for each, and the model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.medium import Kind, word


class OfProcessor:
    """A reader by the whole processor, whose argument `argument` takes media of this kind."""

    argument: str
    kind: Kind

    def __init__(self, processor: Any, placeholder: str, token_ids: Sequence[int | None]) -> None:
        self.processor = processor
        self.placeholder = placeholder
        self.token_ids = tuple(token for token in token_ids if token is not None)

    def options(self) -> dict[str, Any]:
        """Further arguments of the processor."""
        return {}

    def texts(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """The text that stands beside the media of rows: their placeholders."""
        return [self.placeholder * len(row) for row in rows]

    def given(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Media of rows as the processor takes them."""
        return [list(row) for row in rows]

    def words(self, opened: Sequence[Any]) -> list[str]:
        """See `KindReader`."""
        found: list[str] = []
        replace = self.processor.get_text_with_replacements

        def listening(*args: Any, **kwargs: Any) -> Any:
            texts, replaced = replace(*args, **kwargs)
            found.extend(one["replacement"] for text in replaced for one in text)
            return texts, replaced

        # An attribute of this processor alone: every family's expansion goes through it.
        self.processor.get_text_with_replacements = listening
        try:
            self.processor(
                text=self.texts([opened]),
                **{self.argument: self.given([opened])},
                **self.options(),
            )
        except (ValueError, IndexError, TypeError) as error:
            raise RowFault(f"the model's processor refuses it: {_first_line(error)}") from None
        finally:
            del self.processor.get_text_with_replacements
        if len(found) != len(opened):
            raise RowFault(f"the model's processor does not tell what a {word(self.kind)} becomes")
        return found

    def inputs(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """See `KindReader`."""
        found: dict[str, Any] = self.processor(
            text=self.texts(rows),
            **{self.argument: self.given(rows)},
            **self.options(),
            text_kwargs={"padding": True},
            return_tensors="pt",
        )
        return found


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:300]
