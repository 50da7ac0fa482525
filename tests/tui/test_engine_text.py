"""What the engine says is read in the language of the screen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui import engine_text as module
from tui import language
from tui.engine_text import engine_text


@pytest.fixture
def chinese() -> Iterator[None]:
    before = language.language()
    language.use("zh_CN")
    yield
    language.use(before)


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
        "from tui.engine_text import _sentences, engine_text\n"
        "assert _sentences.cache_info().currsize == 0\n"
        "language.use('en')\n"
        "engine_text('There are no rows to train on.')\n"
        "heavy = {'tui.sentences', 'babel', 'textual', 'torch', 'ast'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
