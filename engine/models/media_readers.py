"""How a model's processor takes media of one kind: the words for each, and the model's inputs.

One reader a kind, in `READERS`; the processor's own arithmetic makes both, so that they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.datasets.formats.fields import RowFault
from engine.datasets.media import Limits, open_picture
from engine.datasets.medium import Kind, word
from engine.models.video_reader import videos_of


class KindReader(Protocol):
    """Reads media of one kind. `placeholder` is what stands in the model's text for one,
    `token_ids` are the tokens whose places their features take."""

    placeholder: str
    token_ids: tuple[int, ...]

    def open(self, path: Path) -> Any:
        """The medium in a file. Raises RowFault."""
        ...

    def words(self, opened: Sequence[Any]) -> list[str]:
        """What stands in place of each one's placeholder. Raises RowFault."""
        ...

    def inputs(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """What the forward pass takes for the opened media of rows, each with at least one."""
        ...


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

    def given(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Media of rows as the processor takes them."""
        return [list(row) for row in rows]

    def words(self, opened: Sequence[Any]) -> list[str]:
        found: list[str] = []
        replace = self.processor.get_text_with_replacements

        def listening(*args: Any, **kwargs: Any) -> Any:
            texts, replaced = replace(*args, **kwargs)
            found.extend(one["replacement"] for one in replaced[0])
            return texts, replaced

        # An attribute of this processor alone: every family's expansion goes through it.
        self.processor.get_text_with_replacements = listening
        try:
            self.processor(
                text=[self.placeholder * len(opened)],
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
        found: dict[str, Any] = self.processor(
            text=[self.placeholder * len(row) for row in rows],
            **{self.argument: self.given(rows)},
            **self.options(),
            text_kwargs={"padding": True},
            return_tensors="pt",
        )
        return found


class PictureReader(OfProcessor):
    """Pictures, within the settings' limits, on PIL."""

    argument = "images"
    kind: Kind = "image"

    def __init__(self, processor: Any, folder: Path, config: Any) -> None:
        super().__init__(processor, str(processor.image_token), processor.image_token_ids)
        self.limits = Limits.of(config)
        self._options = _image_options(processor, config)

    def options(self) -> dict[str, Any]:
        return {"images_kwargs": self._options}

    def open(self, path: Path) -> Any:
        return self.limits.fitted(open_picture(path))


def _image_options(processor: Any, config: Any) -> dict[str, Any]:
    """What the settings change of the way pictures are cut, where the family knows of it."""
    options: dict[str, Any] = {}
    known = vars(processor.image_processor)
    if config.image_do_pan_and_scan and "do_pan_and_scan" in known:
        options["do_pan_and_scan"] = True
    if config.crop_to_patches and "crop_to_patches" in known:
        options["crop_to_patches"] = True
    return options


def _pictures(processor: Any, folder: Path, config: Any) -> KindReader | None:
    has = hasattr(processor, "image_processor") and getattr(processor, "image_token", None)
    return PictureReader(processor, folder, config) if has else None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:300]


# Each kind's reader, from the processor, the model's folder and the settings; None where the
# processor has no place for the kind.
READERS: dict[Kind, Callable[[Any, Path, Any], KindReader | None]] = {
    "image": _pictures,
    "video": videos_of,
}
