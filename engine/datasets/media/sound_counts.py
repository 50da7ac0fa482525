"""The tokens that a sound becomes, by arithmetic over its head and the model's files.

Follows the processors of transformers 5.24 for Qwen2-Audio and Audio Flamingo 3; a test compares
both. Of other families only the run's own processor knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media.sounds import about_sound
from engine.runs.json_object import read_object

# Families whose processor drops what is beyond its longest sound, without a word.
_DROPS = ("qwen2_audio", "gemma3n")


def sound_settings(folder: Path) -> dict[str, Any]:
    """The feature extractor's settings of the model in `folder`; empty where it has none."""
    whole = read_object(folder / "processor_config.json").get("feature_extractor")
    return read_object(folder / "preprocessor_config.json") | (
        whole if isinstance(whole, dict) else {}
    )


def model_rate(folder: Path) -> int:
    """How many samples a second the model in `folder` hears; 16,000 where its files don't say."""
    return int(sound_settings(folder).get("sampling_rate") or 16000)


def longest_samples(folder: Path) -> int | None:
    """How many samples of a sound the model in `folder` hears; None for all."""
    settings = sound_settings(folder)
    most = read_object(folder / "processor_config.json").get("max_audio_len")
    if most:  # of families that cut a sound into windows
        window = int(settings.get("chunk_length") or 30)
        return int(most) // window * window * model_rate(folder)
    if read_object(folder / "config.json").get("model_type") not in _DROPS:
        return None
    return int(settings.get("n_samples") or settings.get("chunk_length", 30) * model_rate(folder))


def check_length(name: str, samples: int, rate: int, longest: int | None) -> None:
    """Raise RowFault for a sound of which the model would hear only the beginning."""
    if longest is not None and samples > longest:
        raise RowFault(
            f"the sound {name} is {samples / rate:,.1f} seconds long, and the model hears "
            f"{longest / rate:,.0f}: cut it"
        )


def wrong_rate(given: int, rate: int) -> str:
    """Why sounds at `given` samples a second suit no model that hears `rate`; empty if alike."""
    if given == rate:
        return ""
    return f"audio_sampling_rate is {given:,}, and the model hears {rate:,} samples a second"


def sound_words(folder: Path, token: str, tokenizer: Any, config: Any) -> Callable[[Path], str]:
    """What stands in the text for the sound in a file, for the model in `folder`."""
    family = read_object(folder / "config.json").get("model_type")
    settings = sound_settings(folder)
    rate, longest = model_rate(folder), longest_samples(folder)
    refused = wrong_rate(config.audio_sampling_rate, rate)

    def words_of(path: Path) -> str:
        if refused:
            raise RowFault(refused)
        samples = about_sound(path).samples(rate)
        check_length(path.name, samples, rate, longest)
        if family not in _COUNTS:
            raise RowFault(
                "how many tokens its sounds take is known once the run has loaded the model's "
                "processor"
            )
        count = _COUNTS[family](samples, settings)
        if count < 1:
            raise RowFault(f"the sound {path.name} is too short for the model")
        return token * count

    return words_of


def _qwen2_audio(samples: int, settings: Mapping[str, Any]) -> int:
    frames = -(-samples // int(settings.get("hop_length") or 160))
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def _flamingo(samples: int, settings: Mapping[str, Any]) -> int:
    """As Qwen2-Audio, the frames summed over windows."""
    hop = int(settings.get("hop_length") or 160)
    window = int(settings.get("chunk_length") or 30) * int(settings.get("sampling_rate") or 16000)
    whole, rest = divmod(samples, window)
    frames = whole * -(-window // hop) + -(-rest // hop)
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


_COUNTS: dict[Any, Callable[[int, Mapping[str, Any]], int]] = {
    "qwen2_audio": _qwen2_audio,
    "audioflamingo3": _flamingo,
}
