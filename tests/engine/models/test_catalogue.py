"""The catalogue of models: its form, its completeness, and how it is searched."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.chat_templates import TEMPLATES
from engine.models import catalogue as room
from engine.models.catalogue import catalogue, find, parameters_of, search

# The families that the field's usual tool offers, each by the start of a family's name here.
FAMILIES = (
    "AgentWorld", "Aeva", "Aya", "BLOOM", "BLOOMZ", "Breeze", "ChatGLM3", "Chinese-LLaMA-2",
    "CodeGemma", "Codestral", "Command R", "DBRX", "DeepSeek-Coder", "DeepSeek-Coder-V2",
    "DeepSeek-LLM", "DeepSeek-MoE", "DeepSeek-R1", "DeepSeek-V2", "DeepSeek-V3", "Devstral",
    "dots.ocr", "ERNIE 4.5", "ERNIE 4.5 VL", "EXAONE", "Falcon", "Falcon-H1", "Gemma", "Gemma 2",
    "Gemma 3", "Gemma 3n", "Gemma 4", "GLM-4", "GLM-4.1V", "GLM-4.5", "GLM-4.5V", "GLM-4.7",
    "GLM-OCR", "GLM-Z1", "GPT-2", "GPT-OSS", "Granite 3", "Granite 4", "Granite Vision", "Hunyuan",
    "Hy-MT", "Hy3", "Index", "Intern-S1", "InternLM2", "InternLM3", "InternVL2.5", "InternVL3",
    "InternVL3.5", "Jamba", "Keye-VL", "Kimi-Dev", "Kimi-VL", "LFM2", "LFM2-VL", "Llama 1",
    "Llama 2", "Llama 3", "Llama 3.2 Vision", "Llama 4", "LLaVA-1.5", "LLaVA-NeXT",
    "LLaVA-NeXT-Video", "MedGemma", "MiMo", "MiMo-V2", "MiMo-VL", "MiniCPM-V", "MiniCPM-o",
    "MiniCPM4", "MiniCPM5", "MiniMax 1", "MiniMax 2", "Ministral", "Ministral 3", "Mistral",
    "Mistral-Small", "Mixtral", "MobileLLM-R1", "Moonlight", "MOSS-VL", "OLMo", "OpenChat",
    "OpenCoder", "PaliGemma", "PaliGemma 2", "Phi 3", "Phi 4", "Pixtral", "QVQ", "QwQ", "Qwen2",
    "Qwen2-Audio", "Qwen2-VL", "Qwen2.5", "Qwen2.5-Omni", "Qwen2.5-VL", "Qwen3", "Qwen3-Next",
    "Qwen3-Omni", "Qwen3-VL", "Qwen3.5", "Seed-Coder", "Seed-OSS", "SmolLM", "SmolLM2", "SOLAR",
    "StarCoder2", "TeleChat2", "VibeThinker", "Vicuna", "Video-LLaVA", "XuanYuan", "Yi", "Yi-VL",
    "Youtu-LLM", "Youtu-VL", "Yuan2", "Zephyr",
)  # fmt: skip
# What a template of each kind reads beside text.
WORDLESS = {"GPT-2", "Llama 1", "BLOOM", "BLOOMZ", "OLMo", "Jamba", "StarCoder2"}


def test_every_family_of_the_field_is_there() -> None:
    here = {model.family for model in catalogue()}
    assert set(FAMILIES) - here == set()
    assert len(catalogue()) >= 630


def test_form_of_every_row() -> None:
    names = [model.name for model in catalogue()]
    assert len(set(names)) == len(names)
    for model in catalogue():
        assert re.fullmatch(r"[\w.+-]+/[\w.+-]+", model.hf), model
        assert not model.ms or re.fullmatch(r"[\w.+-]+/[\w.+-]+", model.ms), model
        assert "/" not in model.name and " " not in model.name, model
        assert model.kind in ("base", "chat"), model
        assert model.kind == "chat" or not model.thinking, model
        assert set(model.media) <= {"image", "video", "audio"}, model
        assert model.size == "" or re.fullmatch(
            r"E?\d+(\.\d+)?[BM](-A\d+(\.\d+)?[BM])?|\d+x\d+B|17B-(16|128)E", model.size
        ), model
        assert model.source
    assert sum(model.size != "" for model in catalogue()) / len(names) > 0.9
    assert sum(model.ms != "" for model in catalogue()) / len(names) > 0.9


def test_ids_are_not_written_twice() -> None:
    for hub in ("huggingface", "modelscope"):
        ids = [model.id_on(hub) for model in catalogue() if model.id_on(hub)]
        assert len(set(ids)) == len(ids)


def test_both_ids_are_of_the_same_size() -> None:
    def sizes(name: str) -> set[str]:
        return set(re.findall(r"(?<![\w.])(\d+(?:[._]\d+)?b)(?![a-z])", name.lower()))

    for model in catalogue():
        if model.ms:
            assert sizes(model.hf.replace("_", ".")) == sizes(model.ms.replace("_", ".")), model


def test_templates_are_known_and_read_what_the_model_takes() -> None:
    for model in catalogue():
        if model.template is None:
            continue
        assert model.template in TEMPLATES, model
        if model.media:
            # Mixed groups (a text model beside one with pictures) share a template.
            assert {"text", *model.media} <= {"text", *TEMPLATES[model.template]}, model
    without = {model.family for model in catalogue() if model.template is None}
    assert without == WORDLESS | {"SmolLM3", "SmolVLM2"}


def test_every_source_is_named_and_used() -> None:
    content = json.loads((Path(room.__file__).parent / "models.json").read_text())
    used = {row["source"] for row in content["models"]}
    assert used == set(content["sources"])
    assert "llamafactory 0.9.5" in content["sources"]["llamafactory"]


@pytest.mark.parametrize(
    ("name", "hf", "size", "kind", "template"),
    [
        ("Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507", "4B", "chat", "qwen3_nothink"),
        ("SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", "135M", "base", "smollm2"),
        ("Qwen3-30B-A3B-Thinking", "Qwen/Qwen3-30B-A3B", "30B-A3B", "chat", "qwen3"),
        ("PaliGemma-3B-pt-224", "google/paligemma-3b-pt-224", "3B", "base", "paligemma"),
        ("GPT-2-Small", "openai-community/gpt2", "124M", "base", None),
    ],
)
def test_some_rows(name: str, hf: str, size: str, kind: str, template: str | None) -> None:
    model = find(name)
    assert model is not None
    assert (model.hf, model.size, model.kind, model.template) == (hf, size, kind, template)
    assert find(hf.upper()) is model


def test_sizes_in_numbers() -> None:
    assert parameters_of("135M") == 135e6
    assert parameters_of("30B-A3B") == 30e9
    assert parameters_of("E2B") == 2e9
    assert parameters_of("8x7B") is None and parameters_of("") is None
    assert parameters_of("17B-16E") is None


def test_search_finds_by_every_word() -> None:
    found = [model.name for model in search("qwen2.5 coder instruct 7b")]
    assert found == ["Qwen2.5-Coder-7B-Instruct"]
    assert {model.family for model in search("zai-org glm-4.5v")} == {"GLM-4.5V"}
    assert all("image" in model.media for model in search("image gemma"))
    assert list(search("no such model")) == []
    assert len(list(search(""))) == len(catalogue())


def test_an_id_on_either_hub() -> None:
    model = find("LLM-Research/Meta-Llama-3-8B")
    assert model is not None and model.id_on("huggingface") == "meta-llama/Meta-Llama-3-8B"
    assert model.id_on("modelscope") == "LLM-Research/Meta-Llama-3-8B"


def test_the_catalogue_is_read_only_when_somebody_looks() -> None:
    code = (
        "import sys, engine.models, engine.models.locate; engine.models.known_models();"
        "print('engine.models.catalogue' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
