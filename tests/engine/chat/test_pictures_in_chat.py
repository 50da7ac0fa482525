"""A picture with a turn: it is seen, it can be missing, and it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.chat import Chatter
from engine.config import read_flat
from engine.events import AnswerPiece
from engine.problem import BadInput
from engine.runs.session import JobSession
from engine.worker import ChatMessage


def settings(folder: Path, pictures: Path) -> Any:
    flat = {
        "model_name_or_path": str(folder),
        "dataset_dir": str(pictures),
        "use_cpu": True,
        "infer_dtype": "float32",
        "do_sample": False,
        "max_new_tokens": 8,
    }
    return read_flat(flat, "test").config


def chatter(config: Any) -> Chatter:
    return Chatter(config, JobSession("test", None, lambda _: None))


def asked(chat: Chatter, config: Any, text: str, *pictures: str) -> dict[str, Any]:
    turns = [ChatMessage("user", text, pictures)]
    return chat.answer(turns, None, config, lambda _: None)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_another_picture_gives_another_answer_and_the_same_the_same(
    family: str, vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    config = settings(vision_folder(family), picture_set)
    chat = chatter(config)
    red = asked(chat, config, "<image>Which?", "red.png")
    blue = asked(chat, config, "<image>Which?", "blue.png")
    assert red["text"] != blue["text"] and red["tokens"] == 8
    # Without a placeholder the picture stands before the text.
    assert asked(chat, config, "Which?", "red.png")["text"] == red["text"]


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_picture_leaves_nothing_behind(
    family: str, vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    config = settings(vision_folder(family), picture_set)
    fresh = asked(chatter(config), config, "Hello there.")
    used = chatter(config)
    asked(used, config, "Which?", "blue.png")
    assert asked(used, config, "Hello there.")["text"] == fresh["text"]


def test_sampling_repeats_by_its_seed_and_beams_answer(
    vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    config = replace(
        settings(vision_folder("llava"), picture_set), do_sample=True, temperature=1.5, top_p=1.0
    )
    chat = chatter(config)
    first = asked(chat, config, "Which?", "red.png")["text"]
    assert asked(chat, config, "Which?", "red.png")["text"] == first
    other = replace(config, seed=7)
    assert asked(chat, other, "Which?", "red.png")["text"] != first
    beams = replace(config, do_sample=False, num_beams=2)
    assert asked(chat, beams, "Which?", "red.png")["tokens"] > 0


def test_an_answer_comes_in_pieces_and_can_be_stopped(
    vision_folder: Callable[[str], Path], picture_set: Path
) -> None:
    config = replace(settings(vision_folder("llava"), picture_set), max_new_tokens=400)
    session = JobSession("test", None, lambda _: None)
    chat = Chatter(config, session)
    seen: list[str] = []

    def publish(event: Any) -> None:
        if isinstance(event, AnswerPiece):
            seen.append(event.text)
            session.control.stop()

    turns = [ChatMessage("user", "Which?", ("red.png",))]
    result = chat.answer(turns, None, config, publish)
    assert result["reason"] == "stopped" and 0 < result["tokens"] < 400
    assert "".join(seen) == result["text"]


@pytest.mark.parametrize(
    ("text", "pictures", "reason"),
    [
        ("Which?", ("gone.png",), "there is no picture gone.png"),
        ("Which?", ("colours.json",), "no picture that can be read"),
        ("<image><image>", ("red.png",), "holds 2 <image> and has 1 picture"),
    ],
)
def test_a_picture_that_can_not_be_used_is_told(
    text: str,
    pictures: tuple[str, ...],
    reason: str,
    vision_folder: Callable[[str], Path],
    picture_set: Path,
) -> None:
    config = settings(vision_folder("llava"), picture_set)
    with pytest.raises(BadInput, match=reason):
        asked(chatter(config), config, text, *pictures)


def test_a_model_of_text_refuses_a_picture(model_folder: Path, picture_set: Path) -> None:
    config = settings(model_folder, picture_set)
    with pytest.raises(BadInput, match="reads only text"):
        asked(chatter(config), config, "Which?", "red.png")


@pytest.mark.slow
def test_the_command_takes_a_picture(
    vision_folder: Callable[[str], Path], picture_set: Path, tmp_path: Path
) -> None:
    words = [
        f"model_name_or_path={vision_folder('llava')}",
        "use_cpu=true",
        "do_sample=false",
        "max_new_tokens=4",
    ]
    run = [sys.executable, "-m", "tui", "chat", *words, "--once", "Which?"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "c")}
    seen = [
        subprocess.run(
            [*run, "--image", str(picture_set / name)],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        for name in ("red.png", "blue.png")
    ]
    assert [done.returncode for done in seen] == [0, 0], seen[0].stderr
    assert seen[0].stdout != seen[1].stdout
    gone = subprocess.run([*run, "--image", "gone.png"], capture_output=True, text=True, env=env,
                          check=False)  # fmt: skip
    assert gone.returncode == 2 and "There is no picture gone.png." in gone.stderr
