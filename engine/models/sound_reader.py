"""How a model's processor takes sounds: their samples, the words for each, the model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.sound_counts import check_length, longest_samples, model_rate, wrong_rate
from engine.datasets.media.sounds import read_sound
from engine.datasets.medium import Kind
from engine.models.of_processor import OfProcessor
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Sound:
    """Samples (float32) and the file that they are from."""

    name: str
    samples: numpy.ndarray[Any, Any]


class SoundReader(OfProcessor):
    """Sounds in one channel, at the rate that the model hears."""

    argument = "audio"
    kind: Kind = "audio"

    def __init__(self, processor: Any, folder: Path, config: Any) -> None:
        super().__init__(processor, str(processor.audio_token), processor.audio_token_ids)
        self.rate = model_rate(folder)
        self._longest = longest_samples(folder)
        refused = wrong_rate(config.audio_sampling_rate, self.rate)
        if refused:
            raise BadInput(
                Problem(
                    f"{refused[0].upper()}{refused[1:]}.",
                    str(folder),
                    f"Set audio_sampling_rate: {self.rate}.",
                    "audio_sampling_rate",
                )
            )

    def open(self, path: Path) -> Sound:
        """The sound in a file. Raises RowFault, also for one longer than the model hears."""
        samples = read_sound(path, self.rate)
        check_length(path.name, len(samples), self.rate, self._longest)
        return Sound(path.name, samples)

    def options(self) -> dict[str, Any]:
        """The rate, which the processor compares with its own."""
        return {"audio_kwargs": {"sampling_rate": self.rate}}

    def texts(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """One text a sound: some families take no other."""
        return [self.placeholder for row in rows for _ in row]

    def given(self, rows: Sequence[Sequence[Any]]) -> Any:
        """All samples, one list."""
        return [sound.samples for row in rows for sound in row]

    def words(self, opened: Sequence[Any]) -> list[str]:
        """What stands in place of each. Raises RowFault for a sound too short for a token."""
        found = super().words(opened)
        for sound, text in zip(opened, found, strict=True):
            if self.placeholder not in text:
                raise RowFault(f"the sound {sound.name} is too short for the model")
        return found


def sounds_of(processor: Any, folder: Path, config: Any) -> SoundReader | None:
    """The reader of the model in `folder`; None where its processor has no place for sounds."""
    extracts = getattr(processor, "feature_extractor", None)
    token = getattr(processor, "audio_token", None)
    return SoundReader(processor, folder, config) if extracts is not None and token else None
