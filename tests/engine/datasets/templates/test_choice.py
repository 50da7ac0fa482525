"""Which template a name means for a model: its own, a published one, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.chat_templates import FURTHER, TEMPLATES, THINKING
from engine.datasets import Encoder, Example, Message
from engine.datasets.template_names import FAMILIES
from engine.datasets.templates import find_template, named_templates
from engine.datasets.templates.package import NotHere, kept_file, package_templates
from engine.problem import BadInput

ROW = Example("conversation", 1, (Message("user", "hi"), Message("assistant", "ho")))
THINKING_NAMES = 25


def test_every_published_name_says_where_its_text_comes_from() -> None:
    named = named_templates()
    assert len(TEMPLATES) == 124 and len(THINKING) == THINKING_NAMES
    assert set(named) == {*TEMPLATES, *FURTHER}
    assert sum(known.package for known in named.values()) == 119  # default and empty are ours
    for name, known in named.items():
        # One release is known by its size alone: no source names it, so it is not here.
        assert bool(known.sources) == (name != "hy_dense_7b"), name
        assert known.family is None or known.family in FAMILIES
        assert known.hub is None or (known.hub.count("/") == 1 and known.hub_from)
    counts = [sum(len(k.reads) == n for k in named.values() if k.name in TEMPLATES) for n in (1, 4)]
    assert counts == [75, 5]
    assert named["moss_vl"].sources == ("OpenMOSS-Team/MOSS-VL-Instruct-0708",)


def test_a_name_that_the_models_own_template_gives_is_that(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    own = Encoder(model_folders["chatml"], make_config())
    named = Encoder(model_folders["chatml"], make_config(template="qwen"))
    assert named.template_source == own.template_source
    assert named.encode(ROW) == own.encode(ROW)
    assert named.notes == ("Template qwen: the model's own chat template gives it.",)
    assert named.chat.origin == own.chat.origin == "the model's own"


def test_a_published_text_that_equals_the_models_own_is_that_too(
    stand_in: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    assert named_templates()["moonlight"].family is None
    encoder = Encoder(model_folders["chatml"], make_config(template="moonlight"))
    assert encoder.chat.record is None
    assert encoder.notes == ("Template moonlight: the model's own chat template gives it.",)


def test_a_template_that_is_not_the_models_is_used_and_warned_of(
    stand_in: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["llama3"], make_config(template="zephyr"))
    assert encoder.encode(ROW).text.endswith(
        "<ask>hi</ask>\n<say><think>\n\n</think>\n\nho</say>\n"
    )
    said = " ".join(encoder.notes)
    assert encoder.notes[0] == "Template zephyr is written as llamafactory 0.9.5 has it."
    assert "writes another text than the model's own chat template" in said
    assert "vocabulary lacks <sys>, </sys>, <ask>, </ask> …" in said
    assert "ends an answer with </say>, the model's own end is <|eot_id|>" in said


def test_a_base_model_with_a_chat_template_is_said(
    stand_in: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["base"], make_config(template="moonlight"))
    said = " ".join(encoder.notes)
    assert "looks like a base model, to which template moonlight is new" in said
    assert "lacks" not in said  # its vocabulary has the marks
    assert "ends an answer with <|im_end|>, the model's own end is <|endoftext|>" in said
    end = encoder.tokenizer.backend.token_to_id("<|im_end|>")
    assert end in encoder.eos_ids


def test_a_name_without_a_text_here_is_refused_with_the_reason(
    model_folders: dict[str, Path], make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match=r"'falcon'.*looks like chatml.*pip could not fetch"):
        Encoder(model_folders["chatml"], make_config(template="falcon"))
    with pytest.raises(BadInput, match="MOSS-VL-Instruct-0708 is not in the hub's cache"):
        Encoder(model_folders["chatml"], make_config(template="moss_vl"))
    with pytest.raises(BadInput, match="only a model's own template gives it"):
        Encoder(model_folders["base"], make_config(template="tulu"))


def test_a_template_that_cant_be_read_is_never_guessed(stand_in: Path) -> None:
    with pytest.raises(NotHere, match=r"a form that can't be read \(it is a OwnTemplate"):
        find_template("solar", fetch=False)


def test_without_fetching_the_network_is_not_asked() -> None:
    with pytest.raises(NotHere, match="has not been fetched"):
        package_templates(fetch=False)
    assert not kept_file().exists()


def test_a_damaged_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "llamafactory-0.9.5-py3-none-any.whl"
    wheel.write_bytes(b"not it")
    monkeypatch.setenv("FINETUI_LLAMAFACTORY_WHEEL", str(wheel))
    with pytest.raises(NotHere, match="damaged or another file"):
        package_templates()
    assert not kept_file().exists() and not list(kept_file().parent.iterdir())


def test_a_published_tokenizer_in_the_hubs_cache_is_a_source(
    tmp_path: Path, model_folders: dict[str, Path], make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import huggingface_hub.constants

    from engine.datasets.templates.published import published_template

    published_template.cache_clear()
    cache = tmp_path / "hub"
    folder = cache / "models--tencent--Hy-MT2-1.8B"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    text = json.dumps({"chat_template": template})
    (folder / "snapshots" / "abc" / "tokenizer_config.json").write_text(text)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    encoder = Encoder(model_folders["base"], make_config(template="hy_dense_1_8b"))
    assert encoder.template_source == template
    assert encoder.chat.origin == "tencent/Hy-MT2-1.8B"
    published_template.cache_clear()


def test_rule_48_prompts_are_not_learned_where_answers_stay_open(
    stand_in: Path, byte_model: Path, make_config: Any
) -> None:
    with pytest.raises(BadInput, match="train_on_prompt can't be used with template glm4_7"):
        Encoder(byte_model, make_config(template="glm4_7", train_on_prompt=True))
    Encoder(byte_model, make_config(template="vicuna", train_on_prompt=True))


def test_rule_48_an_unknown_template_is_refused(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    with pytest.raises(BadInput, match=r"'quen' is not known.*Did you mean qwen"):
        Encoder(model_folders["chatml"], make_config(template="quen"))


def test_the_saved_template_alone_writes_the_same(
    stand_in: Path, byte_model: Path, make_config: Any, tmp_path: Path
) -> None:
    named = Encoder(byte_model, make_config(template="zephyr", enable_thinking=False))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((byte_model / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text(named.template_source)
    from transformers import AutoTokenizer

    asked = [{"role": "user", "content": "hi"}]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert text == named.render_prompt(asked)
    assert text.endswith("<say><think>\n\n</think>\n\n")
    saved = Encoder(tmp_path, make_config(enable_thinking=False))
    assert saved.render_prompt(asked) == text
    assert saved.chat.trained_without_thoughts
