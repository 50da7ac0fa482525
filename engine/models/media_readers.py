"""How a model's processor takes media of one kind: the words for each, and the model's inputs.

One reader a kind, in `READERS`; the processor's own arithmetic makes both, so that they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.datasets.media import Limits, open_picture
from engine.datasets.medium import Kind
from engine.models.of_processor import OfProcessor
from engine.models.sound_reader import sounds_of
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


# Each kind's reader, from the processor, the model's folder and the settings; None where the
# processor has no place for the kind.
READERS: dict[Kind, Callable[[Any, Path, Any], KindReader | None]] = {
    "image": _pictures,
    "video": videos_of,
    "audio": sounds_of,
}
