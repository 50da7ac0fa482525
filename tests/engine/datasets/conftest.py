"""A small real tokenizer, typical chat templates, and settings for the dataset tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.config import RunConfig

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
]

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a model.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] + '\n\n' %}{% set loop_messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
# Strips the thoughts of all turns before the last question and gives the last answer a thought,
# empty where it has none: what Qwen3 does.
THINKING = (
    "{%- set ns = namespace(last=0) -%}"
    "{%- for message in messages -%}{%- if message.role == 'user' -%}"
    "{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    "{%- if tools -%}{{ '<|im_start|>system\n' }}{%- for tool in tools -%}"
    "{{ tool | tojson + '\n' }}{%- endfor -%}{{ '<|im_end|>\n' }}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{%- set thought = message.reasoning_content or '' -%}{%- set content = message.content -%}"
    "{%- if not thought and '</think>' in content -%}"
    "{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') -%}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') -%}{%- endif -%}"
    "{{ '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last and (loop.last or thought) -%}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' }}{%- endif -%}"
    "{{ content }}"
    "{%- for call in message.tool_calls or [] -%}"
    "{{ '\n<tool_call>\n' + call.function | tojson + '\n</tool_call>' }}{%- endfor -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- elif message.role == 'tool' -%}"
    "{{ '<|im_start|>user\n<tool_response>' + message.content + '</tool_response><|im_end|>\n' }}"
    "{%- else -%}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
# name -> template, beginning of text, end of text
TEMPLATES: dict[str, tuple[str, str | None, str]] = {
    "chatml": (CHATML, None, "<|im_end|>"),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    "gemma": (GEMMA, "<bos>", "<end_of_turn>"),
    "mistral": (MISTRAL, "<s>", "</s>"),
    "thinking": (THINKING, None, "<|im_end|>"),
}


def _trained_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = ["What is the weather in Paris today?", "It is sunny and warm.", "你是谁？我是助手。"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words * 4, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder (tokenizer files only) for each template, and `base` without one."""
    tokenizer = _trained_tokenizer()
    folders = {}
    for name, (template, bos, eos) in {**TEMPLATES, "base": ("", None, "<|endoftext|>")}.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer.save(str(folder / "tokenizer.json"))
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": eos,
            "pad_token": "<|endoftext|>",
        }
        if bos:
            config["bos_token"] = bos
        if template:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        folders[name] = folder
    return folders


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "finetui-cache"))
    # Named templates are fetched through pip: not in these tests.
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def make_config() -> Any:
    """Settings that the datasets read, by name; the rest as a fresh run has them."""

    def make(**changes: Any) -> Any:
        values: dict[str, Any] = {
            "cutoff_len": 2048,
            "train_on_prompt": False,
            "mask_history": False,
            "default_system": None,
            "template": None,
            "trust_remote_code": False,
            "dataset": None,
            "eval_dataset": None,
            "dataset_dir": None,
            "max_samples": None,
            "val_size": 0.0,
            "seed": 42,
            "stage": "sft",
            "identity_name": "Nova",
            "identity_author": "the Lumen team",
            "hf_hub_token": None,
        }
        return RunConfig(**{**values, **changes})

    return make


@pytest.fixture
def make_set(tmp_path: Path) -> Any:
    """Write a dataset folder: `make_set(rows, **entry)` returns the folder of one set, `mine`."""

    def make(content: Any, file_name: str = "mine.json", **entry: Any) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (folder / file_name).write_bytes(content)
        elif isinstance(content, str):
            (folder / file_name).write_text(content, encoding="utf-8")
        else:
            (folder / file_name).write_text(json.dumps(content, ensure_ascii=False))
        registry = {"mine": {"file_name": file_name, **entry}}
        (folder / "dataset_info.json").write_text(json.dumps(registry))
        return folder

    return make
