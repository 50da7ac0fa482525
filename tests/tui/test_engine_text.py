"""What the engine says is found in its catalogue, whatever stands in its places."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui import engine_text as module
from tui import language
from tui.engine_text import PLACE, Sentences, engine_text, read_messages
from tui.locales.gather import catalogue_path

MESSAGES = read_messages(catalogue_path("zh_CN", "mo", "engine"))
SENTENCES = Sentences(MESSAGES)
# Names, numbers and paths, as they stand in the places; none is a word of the catalogue.
FILLED = st.sampled_from(
    [
        "7",
        "1,234",
        "0.5",
        "Qwen/Qwen3-0.6B",
        "/data/sets/a.json",
        "lora_q",
        "v2.10-rc",
        "x×y",
        "10²",
    ]
)


def with_values(message: str, values: Sequence[str]) -> str:
    return PLACE.sub(lambda place: values[int(place.group(1))], message)


@pytest.fixture
def chinese() -> Iterator[None]:
    before = language.language()
    language.use("zh_CN")
    yield
    language.use(before)


@given(st.sampled_from(sorted(MESSAGES)), st.lists(FILLED, min_size=8, max_size=8))
@settings(max_examples=600, deadline=None)
def test_every_sentence_comes_back_with_what_it_holds(message: str, values: list[str]) -> None:
    text = with_values(message, values)
    found = SENTENCES.translated(text)
    for number in PLACE.findall(message):
        assert values[int(number)] in found
    if MESSAGES[message] != message:
        assert found != text


def test_every_sentence_is_found_whole() -> None:
    """With plain names in its places a sentence gives its own translation, blanks aside."""
    wrong = []
    for message, translation in MESSAGES.items():
        values = [f"name_{number}.txt" for number in range(9)]
        text, wanted = with_values(message, values), with_values(translation, values)
        found = SENTENCES.translated(text)
        if found.replace(" ", "") != wanted.replace(" ", ""):
            wrong.append((text, found))
    # A few sentences read the same as a part of another one with other words in its places.
    assert len(wrong) <= 12, wrong


def test_english_stays_as_it_is() -> None:
    before = language.language()
    language.use("en")
    try:
        text = "There are no rows to train on."
        assert engine_text(text) is text
    finally:
        language.use(before)


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("There are no rows to train on.", "没有可训练的数据行。"),
        # Places, also of words that are known themselves.
        (
            "The loss of step 5 is nan, not a finite number.",
            "第 5 步的损失值是 nan，不是有限的数。",
        ),
        (
            "stage is foo: expected pt, sft, rm or dpo.",
            "stage 为 foo：应为 pt, sft, rm 或 dpo。",
        ),
        ("x is y: expected none, on or off.", "x 为 y：应为 none, on 或 off。"),
        (
            "it has pictures and videos, and the model reads only text",
            "它有图片和视频，而模型只读文本",
        ),
        # A sentence in a sentence, and several one behind the other.
        (
            "None of the 3 rows of a.b can be used. Row 1: there is no answer (output is empty).",
            "a.b 的 3 行都不能用。第 1 行：没有回答（output 为空）。",
        ),
        (
            "Did you mean identity? Leave template out to use the model's own.",
            "是不是想写 identity？去掉 template 则用模型自带的。",
        ),
        # A verdict is a list of findings.
        (
            "set: 2 of 3 rows can be used; 1 can't, first row 1: there is no answer; 2 rows repeat "
            "an answer.",
            "set：3 行中有 2 行可用；1 行不可用，首先是第 1 行：没有回答；2 行的回答重复。",
        ),
        (
            "There is no file a.yaml. [/sets, row 3] Check the path.",
            "没有文件 a.yaml。[/sets，第 3 行] 检查路径。",
        ),
        (
            'stage and pref_loss both set pref_loss, to "orpo" and "hinge".',
            'stage 和 pref_loss 都设置了 pref_loss，分别设为 "orpo" 和 "hinge"。',
        ),
        ("seed stands twice (lines 1 and 3).", "seed 出现了两次（第 1 and 3 行）。"),
        (
            "The GPU ran out of memory (2 GiB more were asked for, 1.20 GiB of 79 GiB were free).",
            "GPU 显存不足（还需要 2 GiB，可用 1.20 GiB，共 79 GiB）。",
        ),
        (
            "a set.json.gz can't be unpacked: it is damaged.",
            "a set.json.gz 无法解压：已损坏。",
        ),
        # What a library says stays English inside.
        (
            "The model can't be loaded: Unrecognized model in /tmp/x",
            "模型无法加载：Unrecognized model in /tmp/x",
        ),
        (
            "Unrecognized configuration class for this.",
            "Unrecognized configuration class for this.",
        ),
        ("", ""),
        ("  There are no rows to train on.\n", "  没有可训练的数据行。\n"),
    ],
)
def test_what_people_read(text: str, wanted: str) -> None:
    assert engine_text(text) == wanted


@pytest.mark.usefixtures("chinese")
def test_names_are_never_translated() -> None:
    """A set called `picture of rows`, a row with a known sentence's words."""
    assert "stage" in engine_text("stage is x: expected a number.")
    assert engine_text("loading demo") == "正在加载 demo"
    assert engine_text("Checking training rows.json") == "正在检查 training rows.json"


@pytest.mark.usefixtures("chinese")
def test_the_same_text_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = Sentences(MESSAGES)
    first = sentences.translated("Row 5: there is no answer.")

    def not_again(text: str) -> tuple[int, str]:
        raise AssertionError(text)

    monkeypatch.setattr(sentences, "_found", not_again)
    assert sentences.translated("Row 5: there is no answer.") == first


def test_what_others_wrote_costs_no_more() -> None:
    """Texts made of a sentence's own words, over and over, are looked through all the same: their
    time is not asserted, but without a bound this test would not end."""
    for message in MESSAGES:
        between = PLACE.split(message)[2:-1:2]
        if len(between) > 2:
            unit = "x".join(between[:-1])
            SENTENCES.translated(PLACE.split(message)[0] + unit * (1500 // len(unit or "1234")))
    for sign in (". A", ": ", "; ", ", ", " and ", "] [", "( "):
        assert isinstance(SENTENCES.translated(sign * 900), str)


def test_a_long_text_is_left_alone() -> None:
    text = "There are no rows to train on. " * 1000
    assert SENTENCES.translated(text) == text


def test_a_language_without_a_catalogue_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "language", lambda: "xx")
    assert engine_text("There are no rows to train on.") == "There are no rows to train on."


@pytest.mark.usefixtures("chinese")
def test_what_a_check_says_is_known(tmp_path: Path) -> None:
    """The verdict, the reasons and the findings of a set with faults, said by the engine."""
    from engine.datasets import check_dataset, open_rows

    rows = [
        {"instruction": "What is 2 + 2?", "output": "4"},
        {"instruction": "What is 2 + 2?", "output": "4"},
        {"instruction": "And 3 + 3?", "output": ""},
        {"instruction": "And 4 + 4?", "output": 8},
        {"instruction": "Say \x07 it", "output": "It caf\ufffd"},
        {"instruction": "", "output": "Nothing was asked."},
    ]
    (tmp_path / "faulty.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text('{"faulty": {"file_name": "faulty.json"}}')
    found = check_dataset(open_rows("faulty", tmp_path), None)
    said = [found.verdict, *(problem.reason for problem in found.problems)]
    said += [text for one in found.findings for text in (one.short, one.words)]
    assert len(said) > 8
    for text in said:
        told = engine_text(text)
        english = re.sub(r"faulty|output|instruction|UTF-8|[A-Z]+\+[0-9A-F]+", "", told)
        assert not re.search("[a-z]{3,}", english), (text, told)


def test_nothing_is_read_before_the_first_sentence() -> None:
    program = (
        "import sys\n"
        "from tui import language\n"
        "language.use('zh_CN')\n"
        "from tui.engine_text import _sentences\n"
        "assert _sentences.cache_info().currsize == 0\n"
        "heavy = {'babel', 'textual', 'torch', 'ast'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
