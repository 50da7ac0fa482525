"""BLEU, ROUGE and exact match against hand-worked values and the libraries themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.evaluation.scores import MEASURES, Scorer, means
from engine.evaluation.words import Words, has_chinese


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer()


def test_the_same_text_scores_full_marks(scorer: Scorer) -> None:
    for text in ("The cat sat on the mat.", "我是助手，很高兴见到你。"):
        assert scorer.score(text, text) == pytest.approx(dict.fromkeys(MEASURES, 100.0))


def test_values_worked_by_hand(scorer: Scorer) -> None:
    found = scorer.score("the cat sat", "the cat sat on the mat")
    # 3 of 3 words are right, 3 of 6 found: F1 = 2/3; pairs 2 of 2 and 2 of 5: F1 = 4/7.
    assert found["rouge-1"] == pytest.approx(100 * 2 / 3)
    assert found["rouge-2"] == pytest.approx(100 * 4 / 7)
    assert found["rouge-l"] == pytest.approx(100 * 2 / 3)
    # Every n-gram there is precise: only the brevity penalty e^(1 - 6/3) is left.
    assert found["bleu-4"] == pytest.approx(100 * 2.718281828459045 ** (1 - 6 / 3))
    assert found["exact_match"] == 0


def test_chinese_is_segmented(scorer: Scorer) -> None:
    assert Words().tokenize("我爱北京天安门 Hello_World é 12!") == [
        "我", "爱", "北京", "天安门", "hello", "world", "é", "12",
    ]  # fmt: skip
    found = scorer.score("我爱北京", "我爱北京天安门")
    assert found["rouge-1"] == pytest.approx(100 * 2 * (3 / 3) * (3 / 4) / (1 + 3 / 4))
    assert found["bleu-4"] == pytest.approx(100 * 2.718281828459045 ** (1 - 7 / 4))
    assert scorer.score("完全不同", "我爱北京")["rouge-l"] == 0


def test_ascii_words_are_as_rouge_score_has_them() -> None:
    from rouge_score import tokenize

    text = "It's 3.5 %: don't, snake_case; CamelCase-and (more)!\n\tEnd"
    assert Words().tokenize(text) == tokenize.tokenize(text, None)


def test_exact_match_forgives_blanks_only(scorer: Scorer) -> None:
    assert scorer.score(" a  b\n", "a b")["exact_match"] == 100
    assert scorer.score("A b", "a b")["exact_match"] == 0


def test_empty_sides_score_nothing_and_raise_nothing(scorer: Scorer) -> None:
    for predict, label in (("", "a reference"), ("an answer", ""), ("", ""), ("…", "!")):
        found = scorer.score(predict, label)
        assert set(found) == set(MEASURES) and found["rouge-1"] == 0


def test_means_are_named_as_in_the_result_file() -> None:
    rows = [dict.fromkeys(MEASURES, 10.0), dict.fromkeys(MEASURES, 30.0)]
    assert means(rows)["predict_bleu-4"] == 20 and set(means(rows)) == {
        f"predict_{name}" for name in MEASURES
    }
    assert means([]) == {}


def test_has_chinese() -> None:
    assert has_chinese("a 你") and not has_chinese("café, Привет, こ")


def test_jieba_is_silent_late_and_cached_in_our_folder(tmp_path: Path) -> None:
    code = (
        "import sys, logging; logging.basicConfig(level=logging.DEBUG, filename=sys.argv[1])\n"
        "from engine.evaluation import Scorer\n"
        "assert not {'torch', 'jieba', 'sacrebleu', 'rouge_score'} & set(sys.modules)\n"
        "s = Scorer(); s.score('a b', 'a c'); assert 'jieba' not in sys.modules\n"
        "s.score('我爱北京', '我爱天安门')"
    )
    env = {"FINETUI_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp"), "PATH": ""}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        env=env,
        cwd=Path(__file__).parents[3],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "cache/jieba/jieba.cache").is_file()
    assert not list((tmp_path / "tmp").iterdir())
