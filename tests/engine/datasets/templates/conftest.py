"""A small module in the form of the published one, a byte-level tokenizer, and slots read a second
way: by running the registering calls alone, beside the reader that never runs anything."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from engine.datasets import Message
from engine.datasets.templates.package import kept_file

# Made up for the tests, under names that a run description may hold.
STAND_IN = r"""
import os

os.environ["STAND_IN_WAS_RUN"] = "yes"


def register_template(name, **parts):
    raise RuntimeError("read, not run")


register_template(
    name="vicuna",
    format_user=StringFormatter(slots=["Q: {{content}} A:"]),
    default_system="Be kind.",
    replace_jinja_template=True,
)
register_template(
    name="zephyr",
    format_user=StringFormatter(slots=["<ask>{{content}}</ask>\n<say>"]),
    format_assistant=StringFormatter(slots=["{{content}}</say>\n"]),
    format_system=StringFormatter(slots=["<sys>{{content}}</sys>\n"]),
    format_observation=StringFormatter(
        slots=["<ask><tool_response>\n{{content}}\n</tool_response></ask>\n<say>"]
    ),
    format_function=FunctionFormatter(slots=["{{content}}</say>\n"], tool_format="qwen"),
    format_tools=ToolFormatter(tool_format="qwen"),
    format_prefix=EmptyFormatter(slots=[{"bos_token"}]),
    stop_words=["</say>"],
    replace_eos=True,
    template_class=ReasoningTemplate,
)
register_template(
    name="openchat",
    format_user=StringFormatter(slots=[{"bos_token"}, "you ", "{{content}}", {"eos_token"}, "me "]),
    format_assistant=StringFormatter(slots=["{{content}}", {"eos_token"}]),
    format_system=StringFormatter(slots=["[S]{{content}}[/S] ", {"eos_token"}]),
    template_class=Llama2Template,
)
register_template(
    name="glm4_7",
    format_user=StringFormatter(slots=[{"token": "<|user|>"}, "\n{{content}}<|bot|>"]),
    format_assistant=StringFormatter(slots=["\n{{content}}"]),
    format_observation=StringFormatter(slots=["<|seen|>\n{{content}}<|bot|>"]),
    thought_words=("<think>", "</think>"),
    stop_words=["<|user|>"],
    efficient_eos=True,
    template_class=Glm47ReasoningTemplate,
)
register_template(
    name="moonlight",
    format_user=StringFormatter(
        slots=["<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>" "assistant\n"]
    ),
    format_assistant=StringFormatter(slots=["{{content}}<|im_end|>\n"]),
    format_system=StringFormatter(slots=["<|im_start|>system\n{{content}}<|im_end|>\n"]),
    default_system="You are a model.",
    mm_plugin=get_mm_plugin(name="base", image_token="<image>"),
)
register_template(name="yuan", format_user=StringFormatter(slots=[NAMED + "{{content}}"]))
register_template(name="index", format_user=StringFormatter(slots=["{{idx}}{{content}}"]))
register_template(name="solar", template_class=OwnTemplate)
"""


@pytest.fixture
def stand_in(own_cache: None) -> Path:
    """The stand-in where the fetched file would lie."""
    file = kept_file()
    file.parent.mkdir(parents=True)
    file.write_text(STAND_IN, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of one token a byte, `<s>` and `</s>`, without a chat template."""
    folder = tmp_path_factory.mktemp("bytes")
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@dataclass(frozen=True)
class Called:
    """One registering call as it was made: its parts by name, nothing filled in."""

    parts: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.parts["name"])

    @property
    def efficient(self) -> bool:
        return bool(self.parts.get("efficient_eos"))

    @property
    def thinks(self) -> bool:
        return "Reasoning" in self.parts.get("template_class", "")

    @property
    def fused(self) -> bool:
        return "Llama2" in self.parts.get("template_class", "")

    @property
    def empty_thought(self) -> str:
        words = self.parts.get("thought_words") or ("<think>\n", "\n</think>\n\n")
        return words[1] if "Glm47" in self.parts["template_class"] else words[0] + words[1]

    def slots(self, part: str) -> list[Any]:
        plain = ["{{content}}"]
        answer = plain if self.efficient else [*plain, {"eos_token"}]
        given = {k: v for k, v in self.parts.items() if v}
        answer = given.get("format_assistant", answer)
        user = given.get("format_user", plain)
        missing = {"assistant": answer, "function": answer, "user": user, "observation": user,
                   "system": plain, "prefix": []}  # fmt: skip
        return list(given.get(f"format_{part}", missing[part]))

    def text(self, slots: Sequence[Any], content: str) -> str:
        end = self.parts["stop_words"][0] if self.parts.get("replace_eos") else "</s>"
        parts = []
        for slot in slots:
            if isinstance(slot, str):
                parts.append(slot.replace("{{content}}", content, 1))
            elif isinstance(slot, dict):
                parts.append(slot["token"])
            elif "bos_token" in slot:
                parts.append("<s>")
            elif "eos_token" in slot:
                parts.append(end)
        return "".join(parts)

    def pairs(
        self, turns: Sequence[Message], system: str = "", tools: str = "", thinking: Any = None
    ) -> list[tuple[str, str]]:
        """Prompt and answer, turn by turn, as the published description of the slots has it."""
        system = system or self.parts.get("default_system", "")
        said: list[str] = []
        for place, turn in enumerate(turns):
            text, content = "", turn.content
            if place == 0:
                text = self.text(self.slots("prefix"), "")
                opening = self.slots("system")
                if (system or tools) and self.fused:
                    content = self.text(opening[:1], system + tools) + content
                elif system or tools:
                    text += self.text(opening, system + tools)
            if turn.tool_calls:
                calls = [
                    json.dumps({"name": c["function"]["name"],
                                "arguments": c["function"]["arguments"]}, ensure_ascii=False)
                    for c in turn.tool_calls
                ]  # fmt: skip
                calls = [f"<tool_call>\n{call}\n</tool_call>" for call in calls]
                text += self.text(self.slots("function"), "\n".join([content, *calls]).lstrip("\n"))
            else:
                part = {"user": "user", "assistant": "assistant", "tool": "observation"}[turn.role]
                text += self.text(self.slots(part), content)
            said.append(text)
        if thinking is not None and self.thinks:
            for place in range(1, len(said), 2):
                where = place if thinking else place - 1
                if thinking:
                    said[where] = self.empty_thought + said[where]
                else:
                    said[where] += self.empty_thought
        if self.efficient:
            said[-1] += self.text([{"eos_token"}], "")
        return list(zip(said[0::2], said[1::2], strict=True))


def called_in(source: str) -> dict[str, Called]:
    """The registering calls of a module, run by themselves with nothing but their own words."""
    found: dict[str, Called] = {}

    def register(**parts: Any) -> None:
        found[parts["name"]] = Called(parts)

    def slots(slots: Any = (), tool_format: str = "") -> Any:
        return slots

    names = {
        "register_template": register,
        "StringFormatter": slots,
        "EmptyFormatter": slots,
        "FunctionFormatter": slots,
        "ToolFormatter": slots,
        "get_mm_plugin": lambda *words, **named: named,
        "Template": "",
        "Llama2Template": "Llama2",
        "ReasoningTemplate": "Reasoning",
        "Glm47ReasoningTemplate": "Glm47Reasoning",
        "True": True,
        "__builtins__": {},
    }
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "register_template":
            try:
                eval(compile(ast.Expression(call), "call", "eval"), names)
            except NameError:
                continue  # one that is not written out
    return found


@pytest.fixture(scope="session")
def calls() -> Callable[[str], dict[str, Called]]:
    return called_in
