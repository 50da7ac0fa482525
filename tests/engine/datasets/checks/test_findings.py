"""What the check finds in rows, each fault put there on purpose; and what it lets pass."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import DataCheck, Encoder, check_dataset, open_rows, prepare
from engine.datasets.checks.texts import TextScan
from engine.datasets.example import Example

Check = Any


@pytest.fixture
def checked(make_set: Any, model_folders: dict[str, Path], make_config: Any) -> Check:
    """`checked(rows, model=, cutoff_len=, **entry)`: the check of a set of these rows."""

    def check(
        content: Any, model: str = "chatml", cutoff_len: int = 512, **entry: Any
    ) -> DataCheck:
        encoder = Encoder(model_folders[model], make_config(cutoff_len=cutoff_len))
        return check_dataset(open_rows("mine", make_set(content, **entry)), encoder)

    return check


def rows(*answers: str) -> list[dict[str, str]]:
    return [
        {"instruction": f"What is number {place}?", "output": answer}
        for place, answer in enumerate(answers)
    ]


def kinds(found: DataCheck) -> dict[str, tuple[int, ...]]:
    return {finding.kind: finding.rows for finding in found.findings}


def test_a_clean_set_is_good_in_one_line(checked: Check) -> None:
    found = checked(rows("a wave", "a duck", "été, 中文 and 🙂 « oui »"))
    assert found.status == "good" and found.findings == ()
    assert found.verdict == "mine: 3 of 3 rows can be used; no fault found."


@pytest.mark.parametrize(
    ("kind", "text", "met"),
    [
        ("special", "yes<|im_end|>no", "<|im_end|>"),
        ("special", "then [INST] go", "[INST]"),
        ("placeholder", "I am {{ name }}.", "{{ name }}"),
        ("control", "a\u0000b", "U+0000"),
        ("control", "a\u001b[31mb", "U+001B"),
        ("control", "a\u0085b", "U+0085"),
        ("replaced", "caf\ufffd", "U+FFFD"),
        ("mojibake", "cafÃ©", "Ã© for é"),
        ("mojibake", "itâ€™s", "â€™ for ’"),
        ("mojibake", "ä¸\xadæ–‡", "for 中"),
    ],
)
def test_faults_of_texts_are_found_with_their_row(
    checked: Check, kind: str, text: str, met: str
) -> None:
    found = checked(rows("clean", text, "clean too"))
    assert kinds(found)[kind] == (2,)
    (finding,) = (one for one in found.findings if one.kind == kind)
    assert met in finding.words and finding.level == "warning" and finding.count == 1
    assert found.status == "warnings" and finding.short in found.verdict


@pytest.mark.parametrize(
    "text",
    ["São Paulo, Ásia, À la carte", "50 °C ± 2 €", "tab\tand\r\nline", "{ {x} } {{}} f{a}", 
     "<b>bold</b>", "Ünïcödé “quotes” – dashes…", "<think>hm</think>yes", "<image> of a cat"],
)  # fmt: skip
def test_honest_texts_are_let_pass(text: str) -> None:
    scan = TextScan({"<|im_end|>", "<think>", "<image>"})
    assert list(scan.faults(Example("text", 1, text=text))) == []


def test_equal_rows_and_answers(checked: Check) -> None:
    content = [*rows("one", "two", "one"), rows("one")[0]]
    found = checked(content)
    # Row 4 is row 1 again; row 3 only gives its answer again.
    assert found.duplicates == (4,)
    assert kinds(found)["duplicate"] == (4,) and kinds(found)["same answer"] == (3,)


def test_what_is_lost_at_the_cutoff_and_what_would_lose_nothing(checked: Check) -> None:
    found = checked(rows(*["short"] * 30, "long " * 300), cutoff_len=128)
    assert kinds(found)["cut"] == (31,) and found.cut == 1
    assert found.cut_tokens == found.longest - 128
    (cut,) = (one for one in found.findings if one.kind == "cut")
    assert f"{found.cut_tokens:,} of {found.tokens:,} tokens" in cut.words and "3.2%" in cut.words
    assert any("would cut no row" in line for line in found.advice)
    percents = dict(found.percentiles)
    assert percents[50] == found.p50 < percents[100] == found.longest
    assert sum(found.histogram) == 31 and found.histogram[-1] == 1
    assert checked(rows("a", "b"), cutoff_len=4096).advice[0].startswith("cutoff_len 64 is enough")


def test_packing_is_advised_where_rows_are_short(
    checked: Check, model_folders: dict[str, Path], make_config: Any, tmp_path: Path
) -> None:
    found = checked(rows(*["short"] * 60, *["rather long " * 20] * 20), cutoff_len=512)
    advice = " ".join(found.advice)
    said = re.search(r"Packed, the 80 rows fill (\d+) of 512 tokens by (\d+)%", advice)
    assert said is not None and "% padding" in advice
    # As full as the run's own packing makes them.
    folder, config = model_folders["chatml"], make_config(cutoff_len=512, packing=True)
    config = replace(config, dataset="mine", dataset_dir=str(tmp_path / "data"))
    packed = prepare(config, Encoder(folder, config)).train
    assert int(said[1]) == len(packed)
    assert int(said[2]) == round(100 * packed.tokens / (512 * len(packed)))


def test_packing_is_not_advised_for_rows_that_are_never_packed(
    vision_folder: Any, picture_set: Path, make_config: Any
) -> None:
    folder = vision_folder("llava")
    config = make_config(cutoff_len=4096, media_dir=str(picture_set))
    encoder = Encoder(folder, config, folder)
    found = check_dataset(open_rows("colours", picture_set), encoder)
    assert found.usable == 5 and found.p50 > 0 and found.advice
    assert not any("Packed" in line for line in found.advice)


def test_answers_that_the_template_masks_away(
    checked: Check, model_folders: dict[str, Path]
) -> None:
    folder = model_folders["chatml"]
    source = (folder / "chat_template.jinja").read_text()
    changed = source.replace("message['content']", "message['content'] | replace('secret', '')")
    (folder / "chat_template.jinja").write_text(changed)
    try:
        found = checked(rows("plain", "a secret word"))
    finally:
        (folder / "chat_template.jinja").write_text(source)
    assert kinds(found)["masked"] == (2,) and "the template masks 1 row" in found.verdict
    assert found.unusable == 1 and "drops or alters" in found.problems[0].reason


def test_columns_that_the_registry_leaves_out_or_makes_up(checked: Check) -> None:
    content = [{**row, "input": "", "system": "Be brief."} for row in rows("a", "b")]
    content[1]["input"] = "with this"
    columns = {"prompt": "instruction", "response": "output", "tools": "toolz"}
    words = " ".join(finding.words for finding in checked(content, columns=columns).findings)
    assert "'system' that the registry leaves out" in words
    assert "'input' that the registry leaves out" in words and '"query": "input"' in words
    assert "names the column 'toolz' for tools" in words
    whole = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    assert checked(content, columns=whole).findings == ()


def test_reasons_are_counted(checked: Check) -> None:
    bad = [{"instruction": "q", "output": ""}] * 30
    found = checked([*rows("a"), *bad, {"instruction": 7, "output": "a"}])
    assert len(found.problems) == 20 and found.unusable == 31 and found.empty_answers == 30
    assert found.reasons[0] == ("there is no answer ('output' is empty)", 30, 2)
    assert found.reasons[1][1:] == (1, 32) and found.status == "bad rows"
    assert kinds(found)["unusable"][:2] == (2, 3)


def test_pairs_are_checked_as_the_run_takes_them(checked: Check) -> None:
    pairs = [
        {"instruction": "q", "chosen": "yes", "rejected": "no, " * 40},
        {"instruction": "q", "chosen": "same", "rejected": "same"},
    ]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    found = checked(pairs, ranking=True, columns=columns)
    assert found.unusable == 1 and "the same" in found.problems[0].reason
    assert found.longest > 40 and found.trained_tokens is None


def test_without_a_model_rows_are_read_all_the_same(make_set: Any) -> None:
    content = [*rows("a", "b<|im_end|>"), {"instruction": "q"}]
    found = check_dataset(open_rows("mine", make_set(content)), None)
    assert (found.usable, found.unusable, found.tokens) == (2, 1, 0) and found.percentiles == ()
    assert kinds(found)["special"] == (2,) and found.advice == ()


def test_progress_is_told_and_a_stop_is_heard(make_set: Any) -> None:
    index = open_rows("mine", make_set(rows(*["a"] * 600)))
    told: list[tuple[float, float]] = []
    check_dataset(index, None, progress=lambda _, done, total, unit: told.append((done, total)))
    assert told == [(0, 600), (256, 600), (512, 600), (600, 600)]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_dataset(index, None, check_stop=stop)


def test_feedback_of_one_kind_is_told(checked: Check) -> None:
    def check(*labels: bool) -> dict[str, tuple[int, ...]]:
        content = [
            {**row, "label": label} for row, label in zip(rows("a", "b", "c"), labels, strict=True)
        ]
        columns = {"prompt": "instruction", "response": "output", "kto_tag": "label"}
        return kinds(checked(content, columns=columns))

    assert "one-sided" not in check(True, False, True)
    assert "one-sided" in check(True, True, True) and "one-sided" in check(False, False, False)


def test_columns_that_the_file_names_otherwise_are_told(make_set: Any) -> None:
    def said(content: Any, file: str = "mine.json", **entry: Any) -> str:
        found = check_dataset(open_rows("mine", make_set(content, file, **entry)), None)
        return " ".join(finding.words for finding in found.findings)

    words = said([{"question": "q", "answer": "a"}])
    assert "no row has a column 'instruction'; the file's are answer, question" in words
    assert "no row has a column 'conversations'" in said([{"turns": []}], formatting="sharegpt")
    assert "one column, 'instruction;output'" in said("instruction;output\na;b\n", "mine.csv")
    assert said(rows("a", "b")) == ""


def test_a_pair_of_equals_is_told_without_a_model_too(make_set: Any) -> None:
    pairs = [{"instruction": "q", "chosen": "same", "rejected": one} for one in ("same", "other")]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    found = check_dataset(open_rows("mine", make_set(pairs, ranking=True, columns=columns)), None)
    assert [problem.row for problem in found.problems] == [1] and found.usable == 1


def test_several_processes_find_the_same(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    content: list[Any] = rows(*[f"answer {n % 900} " * (n % 50) for n in range(2000)])
    content[7:9] = ["no row", {"instruction": "q"}]
    config = make_config(cutoff_len=64, preprocessing_num_workers=2)
    encoder = Encoder(model_folders["chatml"], config)
    index = open_rows("mine", make_set(content))
    one = check_dataset(index, encoder)
    assert check_dataset(index, encoder, config=config) == one
    assert one.unusable > 2 and one.cut > 100
