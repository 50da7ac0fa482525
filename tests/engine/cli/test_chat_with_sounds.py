"""`finetui chat` with a sound beside the question."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def asked(model: Path, sound: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    words = [f"model_name_or_path={model}", "use_cpu=true", "max_new_tokens=4", "do_sample=false"]
    return subprocess.run(
        [sys.executable, "-m", "tui", "chat", *words, "--once", "Which tone?", "--sound", sound],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, **{f"FINETUI_{name}": str(tmp_path / name) for name in
                              ("CACHE", "CONFIG", "STATE")}},
    )  # fmt: skip


@pytest.mark.slow
def test_a_question_about_a_sound(sound_folder: Path, sound_set: Path, tmp_path: Path) -> None:
    said = {}
    for name in ("low.wav", "high.ogg"):
        done = asked(sound_folder, sound_set / name, tmp_path)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    assert said["low.wav"] != said["high.ogg"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tones.json", "tones.json is no sound that can be read"),
        ("nowhere.wav", "There is no sound"),
    ],
)
def test_what_is_no_sound_is_told(
    name: str, told: str, sound_folder: Path, sound_set: Path, tmp_path: Path
) -> None:
    done = asked(sound_folder, sound_set / name, tmp_path)
    assert done.returncode != 0 and told in done.stdout + done.stderr
