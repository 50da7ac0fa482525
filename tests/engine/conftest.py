"""A tiny random Llama with a byte-level ChatML tokenizer: what the engine's tests train and ask."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest

from tests.engine.listener import Listener

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _save_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<|im_start|>", "<|im_end|>"])}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def _save_llama(folder: Path, seed: int = 3, dtype: str = "float32", **changes: Any) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    tokenizer = _save_tokenizer(folder)
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


@pytest.fixture
def make_session() -> Callable[..., tuple[Any, Listener]]:
    """A job's session and who listens to it; `folder` is its run folder, if it has one."""

    def make(folder: Path | None = None, listener: Listener | None = None) -> tuple[Any, Listener]:
        from engine.runs.session import JobSession

        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        listener = listener or Listener()
        return JobSession("test", folder, listener), listener

    return make


@pytest.fixture(scope="session")
def save_tokenizer() -> Callable[[Path], Any]:
    """`save_tokenizer(folder)`: one token a byte, so that a Chinese character takes three."""
    return _save_tokenizer


@pytest.fixture(scope="session")
def save_llama() -> Callable[..., Path]:
    """`save_llama(folder, seed, dtype, **config)` writes a random model and its tokenizer."""
    return _save_llama


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`vision_folder(family)`: a tiny random vision-language model, made once (`tiny_vision`)."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("tiny_vision", Path(__file__).parent / "tiny_vision.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            if family == "smolvlm":
                pytest.importorskip("num2words")
            into = tmp_path_factory.mktemp(family)
            made[family] = module.save_vision(family, into, _save_tokenizer(into))
        return made[family]

    return folder


@pytest.fixture(scope="session")
def picture_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder: three pictures of one colour each, as conversations and as pairs."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    colours = {"red": (60, 40), "green": (33, 50), "blue": (200, 90)}
    for name, size in colours.items():
        Image.new("RGB", size, name).save(folder / f"{name}.png")

    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    talks, pairs = [], []
    for name in colours:
        asked = turn("user", "<image>Which colour?")
        talks.append({"messages": [asked, turn("assistant", name)], "images": [f"{name}.png"]})
        other = next(one for one in colours if one != name)
        pairs.append(
            {
                "messages": [asked],
                "chosen": turn("assistant", name),
                "rejected": turn("assistant", other),
                "images": [f"{name}.png"],
            }
        )
    both = [turn("user", "One <image> and two <image>?"), turn("assistant", "red and blue")]
    talks.append({"messages": both, "images": ["red.png", "blue.png"]})
    talks.append({"messages": [turn("user", "Hello."), turn("assistant", "Hello!")], "images": []})
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
    }
    columns = {"messages": "messages", "images": "images"}
    answers = {"chosen": "chosen", "rejected": "rejected"}
    registry = {
        "colours": {
            "file_name": "colours.json",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": tags,
        },
        "better": {
            "file_name": "better.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns | answers,
            "tags": tags,
        },
    }
    for name, content in (
        ("colours.json", talks),
        ("better.json", pairs),
        ("dataset_info.json", registry),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_sound() -> Any:
    """The module `tiny_sound`: `save_tone`, `RATE` and others."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("tiny_sound", Path(__file__).parent / "tiny_sound.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sound_model(tmp_path_factory: pytest.TempPathFactory, tiny_sound: Any) -> Callable[[str], Path]:
    """`sound_model(family)`: a tiny random model that hears, made once (`tiny_sound`)."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            into = tmp_path_factory.mktemp(family)
            made[family] = tiny_sound.save_sound_model(family, into, _save_tokenizer(into))
        return made[family]

    return folder


@pytest.fixture(scope="session")
def sound_folder(sound_model: Callable[[str], Path]) -> Path:
    """A tiny random Qwen2-Audio."""
    return sound_model("qwen2_audio")


@pytest.fixture(scope="session")
def sound_set(tmp_path_factory: pytest.TempPathFactory, tiny_sound: Any) -> Path:
    """A dataset folder: three tones, as conversations (`tones`) and as pairs (`better`)."""
    return tiny_sound.save_sound_set(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    """A model whose weights are large enough to have opinions."""
    return save_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def adapter_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter whose B is not zero, so that it changes the answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_video() -> Any:
    """The module `tiny_video`: `write_video`, `save_video_model`, `FAMILIES` and others."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("tiny_video", Path(__file__).parent / "tiny_video.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory, tiny_video: Any) -> Callable[..., Path]:
    """`video_folder(family)`: a tiny random model that reads videos, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            into = tmp_path_factory.mktemp(family)
            made[family] = tiny_video.save_video_model(family, into, _save_tokenizer(into))
        return made[family]

    return folder


@pytest.fixture(scope="session")
def video_set(tmp_path_factory: pytest.TempPathFactory, tiny_video: Any) -> Path:
    """A dataset folder with videos, as conversations (`clips`) and as pairs (`better`)."""
    pytest.importorskip("av")
    folder: Path = tiny_video.save_video_set(tmp_path_factory.mktemp("videos"))
    return folder
