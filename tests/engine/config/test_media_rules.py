"""Rules of pictures by number, and what is still away says what it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import check, read_flat, settings
from engine.config.media import RULES
from engine.problem import BadSettings

GOOD: dict[str, Any] = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True}
ALL_FROZEN = {"freeze_language_model": True}

BREAKS = [
    ("2", {"image_max_pixels": 100, "image_min_pixels": 101}, "image_max_pixels"),
    ("2", {"image_max_pixels": "10*10", "image_min_pixels": "32 * 32"}, "image_max_pixels"),
    ("2", {"video_max_pixels": 255}, "video_max_pixels"),
    ("2", {"video_max_pixels": "16*16", "video_min_pixels": 257}, "video_max_pixels"),
    ("o70", ALL_FROZEN, "freeze_language_model"),
]


@pytest.mark.parametrize(("number", "change", "setting"), BREAKS)
def test_rule_refuses(number: str, change: dict[str, Any], setting: str) -> None:
    config = read_flat({**GOOD, **change}).config
    rule = dict(RULES)[number]
    problem = rule(config)
    assert problem is not None and problem.setting == setting
    assert problem.what.endswith(".") and problem.hint.endswith(".")
    assert problem in check(config)


def test_every_rule_of_pictures_is_broken_above() -> None:
    assert {number for number, _ in RULES} == {number for number, _, _ in BREAKS}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"image_max_pixels": 1024, "image_min_pixels": 1024},
        {"video_max_pixels": 256, "video_fps": 0.5, "video_maxlen": 1},
        {**ALL_FROZEN, "freeze_multi_modal_projector": False},
        {**ALL_FROZEN, "freeze_vision_tower": False},
    ],
)
def test_rules_allow(change: dict[str, Any]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []


def test_sides_are_multiplied() -> None:
    config = read_flat({"image_max_pixels": "768 * 768", "image_min_pixels": "28*28"}).config
    assert (config.image_max_pixels, config.image_min_pixels) == (589_824, 784)
    with pytest.raises(BadSettings):
        read_flat({"image_max_pixels": "768 * x"})


def test_the_sound_of_videos_says_what_it_lacks() -> None:
    assert "use_audio_in_video" not in settings()
    with pytest.raises(BadSettings, match="column audios"):
        read_flat({"use_audio_in_video": True})


@pytest.mark.parametrize("change", [{"video_fps": 0}, {"video_maxlen": 0}])
def test_no_frame_at_all_is_no_video(change: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match=next(iter(change))):
        read_flat(change)
