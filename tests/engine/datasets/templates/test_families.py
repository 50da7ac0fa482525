"""Thoughts and tools as published families write them, whose chat templates trl carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, Example, Message

QUESTION = Message("user", "Weather?")
BARE = Example("conversation", 1, (QUESTION, Message("assistant", "Rainy.")))
THOUGHT = Example(
    "conversation",
    1,
    (QUESTION, Message("assistant", "<think>\nIt is May.\n</think>\n\nSunny.")),
)
# Family -> what is trained of BARE with thinking, of THOUGHT with thinking, of both without, and
# how a question ends that asks for an answer without thoughts.
FAMILIES = {
    "qwen3": (
        "<think>\n\n</think>\n\nRainy.<|im_end|>\n",
        "<think>\nIt is May.\n</think>\n\nSunny.<|im_end|>\n",
        ("Rainy.<|im_end|>\n", "Sunny.<|im_end|>\n"),
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    # It opens the thought in the prompt.
    "qwen3_5_think": (
        "\n</think>\n\nRainy.<|im_end|>\n",
        "It is May.\n</think>\n\nSunny.<|im_end|>\n",
        ("Rainy.<|im_end|>\n", "Sunny.<|im_end|>\n"),
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    "nemotron_3_nano": (
        "<think></think>Rainy.<|im_end|>\n",
        "It is May.\n</think>\nSunny.<|im_end|>\n",
        ("Rainy.<|im_end|>\n", "Sunny.<|im_end|>\n"),
        "<|im_start|>assistant\n<think></think>",
    ),
    "glm4moe": (
        "\n<think></think>\nRainy.",
        "\n<think>It is May.</think>\nSunny.",
        ("\nRainy.", "\nSunny."),
        "/nothink<|assistant|>\n<think></think>",
    ),
    # An answer has a channel of its own: an empty thought can't stand before it.
    "gptoss": (
        "<|channel|>final<|message|>Rainy.<|return|>",
        "<|channel|>analysis<|message|>It is May.<|end|><|start|>assistant"
        "<|channel|>final<|message|>Sunny.<|return|>",
        (
            "<|channel|>final<|message|>Rainy.<|return|>",
            "<|channel|>final<|message|>Sunny.<|return|>",
        ),
        "<|end|><|start|>assistant",
    ),
}
TOOL_FORMATS = {
    "qwen3": "qwen",
    "qwen3_6": "qwen3_5",
    "llama3_1": "llama3",
    "glm4moe": "glm4_moe",
    "lfm2_2_5": "lfm2",
    "diffusion_gemma": "gemma4",
}


@pytest.fixture
def published(tmp_path: Path, model_folders: dict[str, Path]) -> Any:
    def make(name: str) -> Path:
        package = importlib.util.find_spec("trl")
        assert package is not None and package.submodule_search_locations
        file = Path(package.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja"
        if not file.is_file():
            pytest.skip(f"this release of trl has no {file.name}")
        for part in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / part).write_bytes((model_folders["mistral"] / part).read_bytes())
        (tmp_path / "chat_template.jinja").write_bytes(file.read_bytes())
        return tmp_path

    return make


def trained(encoder: Encoder, row: Example) -> str:
    return "".join(piece.text for piece in encoder.pieces(row) if piece.part == "trained")


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_of_a_family(family: str, published: Any, make_config: Any) -> None:
    bare, thought, without, asked = FAMILIES[family]
    folder = published(family)
    on = Encoder(folder, make_config())
    assert [trained(on, row) for row in (BARE, THOUGHT)] == [bare, thought]
    off = Encoder(folder, make_config(enable_thinking=False))
    assert (trained(off, BARE), trained(off, THOUGHT)) == without
    assert off.render_prompt([QUESTION]).endswith(asked)
    for encoder in (on, off):
        # What is asked in chat is what stands before the answer in training.
        row = encoder.encode(THOUGHT)
        assert row.text.startswith(encoder.render_prompt([QUESTION]))


@pytest.mark.parametrize("family", TOOL_FORMATS)
def test_a_tool_format_is_known_by_its_marks(family: str, published: Any, make_config: Any) -> None:
    wanted = TOOL_FORMATS[family]
    assert Encoder(published(family), make_config(tool_format=wanted)).chat.tool_format == wanted
    assert Encoder(published(family), make_config()).chat.tool_format == wanted


def test_a_template_that_takes_text_in_parts_only_is_no_fault(
    published: Any, make_config: Any
) -> None:
    from engine.datasets.template_choice import choose_template

    encoder_folder = published("llava_next")
    from engine.datasets.tokenizer import FastTokenizer

    tokenizer = FastTokenizer(encoder_folder)
    chosen = choose_template(tokenizer, dict(tokenizer.special_tokens), None)
    assert chosen.family == "mistral"
