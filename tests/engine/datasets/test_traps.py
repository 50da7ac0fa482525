"""The traps of other people's registries: read as the usual tool reads them, losing nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import defaults_for_form, with_value
from engine.datasets import Example, RowProblem, find_dataset, list_datasets, open_rows
from engine.datasets.preparation import select
from engine.problem import BadInput
from engine.worker.questions import data_facts

CALL = '{"name": "f", "arguments": {"x": 1}}'


def first(folder: Path) -> Example:
    example = open_rows("mine", folder).example(0)
    assert isinstance(example, Example), example
    return example


def said(example: Example) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def test_a_set_that_lists_only_messages_has_no_system_or_tools_column(make_set: Any) -> None:
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    row = {"conversations": talk, "system": "be kind", "tools": '[{"name": "f"}]'}
    entry = {"formatting": "sharegpt", "columns": {"messages": "conversations"}}
    example = first(make_set([row], **entry))
    assert example.system == "" and example.tools == ()
    named = {"messages": "conversations", "system": "system", "tools": "tools"}
    example = first(make_set([row], formatting="sharegpt", columns=named))
    assert example.system == "be kind" and len(example.tools) == 1


def test_an_alpaca_set_that_lists_prompt_and_answer_has_no_input(make_set: Any) -> None:
    row = {"instruction": "q", "input": "more", "output": "a"}
    columns = {"prompt": "instruction", "response": "output"}
    assert said(first(make_set([row], columns=columns)))[0] == ("user", "q")
    assert said(first(make_set([row])))[0] == ("user", "q\nmore")


def test_tags_that_are_given_leave_no_defaults(make_set: Any) -> None:
    talk = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    folder = make_set(
        [{"conversations": talk}],
        formatting="sharegpt",
        tags={"role_tag": "from", "content_tag": "value", "user_tag": "human"},
    )
    problem = open_rows("mine", folder).example(0)
    assert isinstance(problem, RowProblem) and "'gpt'" in problem.reason.replace('"', "'")


@pytest.mark.parametrize("spelled", [True, False])
def test_openai_bare_and_spelled_out_are_the_same(spelled: bool, make_set: Any) -> None:
    talk = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "hm", "tool_calls": [{"function": json.loads(CALL)}]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "a"},
    ]
    entry: dict[str, Any] = {"formatting": "openai"}
    if spelled:
        entry["columns"] = {"messages": "messages", "tools": "tools"}
        entry["tags"] = {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "system_tag": "system",
        }
    example = first(make_set([{"messages": talk, "tools": [{"name": "f"}]}], **entry))
    assert example.system == "s" and len(example.tools) == 1
    # The text beside the call is kept.
    assert said(example) == [
        ("user", "q"),
        ("assistant", "hm"),
        ("tool", "1"),
        ("assistant", "a"),
    ]
    assert example.messages[1].tool_calls[0]["function"]["arguments"] == {"x": 1}


def test_text_beside_a_call_and_a_result_at_the_end_are_kept(make_set: Any) -> None:
    talk = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": f"Let me see.\n{CALL}"},
        {"from": "observation", "value": "1"},
    ]
    example = first(make_set([{"conversations": talk}], formatting="sharegpt"))
    assert said(example) == [("user", "q"), ("assistant", "Let me see."), ("tool", "1")]
    assert example.messages[1].tool_calls[0]["function"]["name"] == "f"
    # Nothing is added to the system text of a row without tools.
    assert example.system == ""


def test_placeholders_are_ordinary_text(make_set: Any) -> None:
    row = {"instruction": "Who is {{name}}?", "output": "{{author}}"}
    assert said(first(make_set([row]))) == [
        ("user", "Who is {{name}}?"),
        ("assistant", "{{author}}"),
    ]


def test_history_is_trained_on_and_stands_before_the_question(make_set: Any) -> None:
    row = {"instruction": "q", "input": "", "output": "a", "past": [["x", "y"]]}
    columns = {"prompt": "instruction", "response": "output", "history": "past"}
    assert [role for role, _ in said(first(make_set([row], columns=columns)))] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]


def test_num_samples_with_the_runs_seed_repeat_where_there_are_fewer(
    make_set: Any, make_config: Any
) -> None:
    rows = [{"instruction": f"q{n}", "output": "a"} for n in range(5)]
    folder = make_set(rows, num_samples=12)

    def chosen(seed: int) -> list[int]:
        config = make_config(dataset_dir=str(folder), seed=seed)
        return [example.source_row for _, example in select(config, ["mine"]).examples]

    once, again = chosen(1), chosen(1)
    assert once == again != chosen(2) and len(once) == 12
    assert all(2 <= once.count(number) <= 3 for number in range(1, 6))
    config = with_value(with_value(defaults_for_form(), "dataset", "mine"), "val_size", 0)
    assert data_facts(list_datasets(folder), config).rows == 12


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        ("train", range(10)),
        ("train[:3]", range(3)),
        ("train[70%:]", range(7, 10)),
        ("train[-2:]", range(8, 10)),
        ("train[20%:40%]", range(2, 4)),
        ("train[4:100]", range(4, 10)),
    ],
)
def test_a_part_of_a_file(split: str, numbers: range, make_set: Any) -> None:
    rows = [{"instruction": f"q{n}", "output": "a"} for n in range(10)]
    folder = make_set(rows, split=split)
    found = open_rows("mine", folder)
    assert [found.raw(n)["instruction"] for n in range(len(found))] == [f"q{n}" for n in numbers]
    # The list tells the rows that are read.
    assert list_datasets(folder)[0].rows == len(numbers)


def test_a_file_has_no_other_split(make_set: Any) -> None:
    folder = make_set([{"instruction": "q", "output": "a"}], split="test")
    with pytest.raises(BadInput, match="no split 'test'"):
        open_rows("mine", folder)


def test_packed_texts_are_texts(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "a.txt.gz"}}')
    assert find_dataset("mine", tmp_path).shape == "text"
    assert first(tmp_path).text == "one"


def test_pictures_of_the_own_list_lie_beside_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets.detect import detect
    from engine.datasets.registry_write import add_set

    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "config"))
    talk = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
    folder = tmp_path / "far"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps([{"messages": talk, "images": ["a.png"]}]))
    (folder / "a.png").write_bytes(b"x")
    add_set(detect(folder / "mine.json"), "own list")
    example = open_rows("mine").example(0)
    assert isinstance(example, Example) and example.media == (("image", str(folder / "a.png")),)
