"""Sets joined, split, cut and counted; a look at a set before training; the published sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets import (
    Encoder,
    Example,
    Message,
    check_dataset,
    list_datasets,
    open_rows,
    prepare,
)
from engine.datasets.checks import histogram, percentile
from engine.datasets.cutoff import kept, share
from engine.datasets.preparation import select, split
from engine.datasets.template import render
from engine.problem import BadInput, Stopped

CORPORA = Path(__file__).parents[4] / "shared/corpora"
needs_corpora = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="the published demonstration sets are not beside the project"
)


def rows(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(count)]


def two_sets(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    bad = [*rows(6), {"instruction": "q", "output": ""}]
    (folder / "a.json").write_text(json.dumps(rows(10)))
    (folder / "b.jsonl").write_text("\n".join(json.dumps(row) for row in bad) + "\n{oops\n")
    registry = {"a": {"file_name": "a.json"}, "b": {"file_name": "b.jsonl"}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    return folder


def test_sets_are_joined_in_order_and_bad_rows_counted(
    tmp_path: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    config = make_config(dataset="a, b", dataset_dir=two_sets(tmp_path / "d"))
    encoder = Encoder(model_folders["chatml"], config)
    said: list[tuple[Any, ...]] = []
    ready = prepare(config, encoder, lambda *call: said.append(call))
    assert ready.counts == {"a": 10, "b": 6} and len(ready.train) == 16 and not len(ready.eval)
    assert [(bad.dataset, bad.row) for bad in ready.dropped] == [("b", 7), ("b", 8)]
    assert any("2 rows left out; row 7: there is no answer" in note for note in ready.notes)
    assert said[-1] == ("Tokenising", 16, 16, "rows")
    source = [open_rows(name, config.dataset_dir) for name in "ab"]
    examples = [s.example(i) for s in source for i in range(len(s))]
    expected = [encoder.encode(row) for row in examples if isinstance(row, Example)]
    assert [row["input_ids"] for row in ready.train] == [row.ids for row in expected]
    assert [row["labels"] for row in ready.train] == [row.labels for row in expected]
    assert ready.train.lengths() == [len(row.ids) for row in expected]
    assert ready.tokens == sum(ready.train.lengths()) and ready.longest == max(
        ready.train.lengths()
    )
    with pytest.raises(IndexError):
        ready.train[16]


def test_validation_part(tmp_path: Path, model_folders: dict[str, Path], make_config: Any) -> None:
    folder = two_sets(tmp_path / "d")
    sizes = []
    for val_size in (0.25, 4):
        config = make_config(dataset="a,b", dataset_dir=folder, val_size=val_size)
        ready = prepare(config, Encoder(model_folders["chatml"], config))
        sizes.append((len(ready.train), len(ready.eval), sum(ready.eval_counts.values())))
    assert sizes == [(12, 4, 4), (12, 4, 4)]
    config = make_config(dataset="a", eval_dataset="b", dataset_dir=folder, max_samples=3)
    ready = prepare(config, Encoder(model_folders["chatml"], config))
    assert ready.counts == {"a": 3} and ready.eval_counts == {"b": 3}
    assert split(100, 0.1, 1) == split(100, 0.1, 1) != split(100, 0.1, 2)
    with pytest.raises(BadInput, match="none is left"):
        split(4, 4, 1)


@given(n=st.integers(2, 200), seed=st.integers(0, 9), share=st.floats(0.01, 0.9))
def test_splitting_loses_no_row(n: int, seed: int, share: float) -> None:
    if round(n * share) < n:
        train, held = split(n, share, seed)
        assert sorted([*train, *held]) == list(range(n)) and train == sorted(train) and held


def test_num_samples_are_random_and_repeat(make_set: Any, make_config: Any) -> None:
    for wanted in (3, 5, 12):
        config = make_config(dataset_dir=make_set(rows(5), num_samples=wanted))
        numbers = [row.source_row for _, row in select(config, ["mine"]).examples]
        assert len(numbers) == wanted and numbers == [
            row.source_row for _, row in select(config, ["mine"]).examples
        ]
        assert len(set(numbers)) == min(wanted, 5)


def test_nothing_usable_names_why(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    config = make_config(dataset="mine", dataset_dir=make_set([{"q": "a"}] * 3))
    encoder = Encoder(model_folders["chatml"], config)
    with pytest.raises(
        BadInput, match=r"None of the 3 rows of mine .* Row 1: there is no question"
    ):
        prepare(config, encoder)
    config = make_config(dataset="mine", dataset_dir=make_set([]))
    with pytest.raises(BadInput, match="holds no rows"):
        prepare(config, encoder)
    config = make_config(dataset="mine", dataset_dir=make_set(rows(2), ranking=True))
    with pytest.raises(BadInput, match="can't be used for sft: its rows are pairs"):
        prepare(config, encoder)
    with pytest.raises(BadInput, match="No dataset is chosen"):
        prepare(make_config(), encoder)


def test_rows_that_are_all_cut_away_blame_the_cutoff(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    config = make_config(dataset="mine", dataset_dir=make_set(rows(3)), cutoff_len=1)
    with pytest.raises(BadInput, match=r"None of the 3 rows .* left after the cutoff") as caught:
        prepare(config, Encoder(model_folders["chatml"], config))
    assert caught.value.problem.setting == "cutoff_len"
    assert caught.value.problem.hint == "Raise cutoff_len."


def test_a_stop_is_heard(make_set: Any, model_folders: dict[str, Path], make_config: Any) -> None:
    config = make_config(dataset="mine", dataset_dir=make_set(rows(3)))

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        prepare(config, Encoder(model_folders["chatml"], config), None, stop)


def test_text_rows_are_learnt_whole_with_their_end(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    folder = make_set([{"text": "It is sunny."}], columns={"prompt": "text"})
    config = make_config(dataset="mine", dataset_dir=folder, stage="pt")
    encoder = Encoder(model_folders["base"], config)
    row = prepare(config, encoder).train[0]
    assert row["labels"] == row["input_ids"]
    assert encoder.tokenizer.decode(row["input_ids"]) == "It is sunny.<|endoftext|>"


@pytest.mark.parametrize(
    ("prompt", "answer", "room", "left"),
    [
        (10, 10, 100, (10, 10)),  # fits
        (1000, 10, 100, (90, 10)),  # a short answer is kept, its prompt cut
        (10, 1000, 100, (10, 90)),  # a short prompt is kept, its answer cut
        (300, 100, 100, (75, 25)),  # both are long: in proportion
    ],
)
def test_room_is_shared(prompt: int, answer: int, room: int, left: tuple[int, int]) -> None:
    assert share(prompt, answer, room) == left


@given(
    sizes=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=5),
    room=st.integers(1, 120),
    tail=st.integers(0, 5),
    last_first=st.booleans(),
)
def test_cut_rows_fill_the_room_and_no_more(
    sizes: list[tuple[int, int]], room: int, tail: int, last_first: bool
) -> None:
    answers, end = [], 0
    for prompt, answer in sizes:
        answers.append((end + prompt, end + prompt + answer))
        end += prompt + answer
    stays = kept(answers, end + tail, room, lambda k: 2, last_first)
    assert len(stays) == end + tail
    assert sum(stays) <= room
    assert sum(stays) >= min(room, end + tail) - 1  # rounding of the proportion
    if room >= end + tail:
        assert all(stays)


def test_a_cut_prompt_keeps_the_words_that_open_the_answer(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config(cutoff_len=60))
    question = Message("user", "Why is the sky blue? " * 40)
    row = encoder.encode(Example("conversation", 1, (question, Message("assistant", "Light."))))
    text = encoder.tokenizer.decode(row.ids)
    assert len(row.ids) == 60 and row.cut > 0
    assert text.endswith("<|im_start|>assistant\nLight.<|im_end|>\n")
    assert any(
        piece.part == "cut"
        for piece in encoder.pieces(
            Example("conversation", 1, (question, Message("assistant", "Light.")))
        )
    )


def test_check_counts_what_a_person_wants_to_know(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    content = [
        *rows(20),
        rows(3)[2],
        {"instruction": "q", "output": " "},
        {"instruction": "I am {{name}}", "output": "yes " * 200, "system": "s"},
    ]
    index = open_rows("mine", make_set(content))
    check = check_dataset(index, Encoder(model_folders["chatml"], make_config(cutoff_len=100)))
    assert (check.rows, check.usable, check.unusable, check.empty_answers) == (23, 22, 1, 1)
    assert check.problems[0].row == 22 and check.duplicates == (21,) and check.cut == 1
    assert sum(check.histogram) == 22 and len(check.histogram) == 20 and check.histogram[-1] == 1
    assert check.p50 <= check.p95 <= check.longest and check.longest > 100
    assert any("{{name}}" in note for note in check.notes)
    content[0]["system"] = "s"
    index = open_rows("mine", make_set(content))
    check = check_dataset(index, Encoder(model_folders["chatml"], make_config()), limit=5)
    assert check.checked == 5
    assert any("'system' that the registry leaves out" in note for note in check.notes)
    assert percentile([1, 2, 3, 4], 50) == 2 and percentile([], 95) == 0
    assert histogram([0, 100]) == (1, *[0] * 18, 1)


def test_prompt_and_reference_for_prediction(
    model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["llama3"], make_config())
    talk = Example("conversation", 1, (Message("user", "hi"), Message("assistant", "Hello.")))
    prompt, answer = encoder.prompt_and_answer(talk)
    assert answer == "Hello." and encoder.encode(talk).text == prompt + answer + "<|eot_id|>"
    with pytest.raises(BadInput, match="no answer"):
        encoder.prompt_and_answer(Example("conversation", 3, (Message("user", "hi"),)))


@needs_corpora
@pytest.mark.parametrize("model", ["chatml", "thinking"])
def test_published_sets_load_and_check_whole(
    model: str, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders[model], make_config(cutoff_len=256))
    entries = list_datasets(CORPORA)
    assert len(entries) == 7
    for entry in entries:
        check = check_dataset(open_rows(entry), encoder, limit=40)
        if entry.name == "mllm_demo":
            assert check.usable == 0 and "only text" in check.problems[0].reason
            continue
        assert check.rows == entry.rows and check.usable == check.checked, check.problems
        # Nothing of a row is lost on the way into text.
        index = open_rows(entry)
        for i in range(5):
            example = index.example(i)
            assert isinstance(example, Example)
            text = encoder.encode(example).text
            assert all(m.content.strip() in text for m in example.messages) and example.text in text


@pytest.mark.slow
def test_ids_and_text_equal_transformers(model_folders: dict[str, Path], make_config: Any) -> None:
    transformers = pytest.importorskip("transformers")
    talk = [
        {"role": "user", "content": "What is the weather?  \n"},
        {"role": "assistant", "content": "Sunny. 今天 <b>& \u00e9</b>"},
        {"role": "user", "content": "你是谁？ <|im_end|>"},
        {"role": "assistant", "content": "Nova\n"},
    ]
    for name, folder in model_folders.items():
        if name == "base":
            continue
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        encoder = Encoder(folder, make_config())
        for count in (1, 2, 3, 4):
            asked = count % 2 == 1
            ids = theirs.apply_chat_template(
                talk[:count], add_generation_prompt=asked, return_dict=False
            )
            text = theirs.apply_chat_template(
                talk[:count], add_generation_prompt=asked, tokenize=False
            )
            ours = encoder.render_prompt(talk[:count], add_generation_prompt=asked)
            assert ours == text, name
            assert encoder.tokenizer.encode(ours) == ids, name
        messages = tuple(Message(m["role"], m["content"]) for m in talk)  # type: ignore[arg-type]
        assert encoder.encode(Example("conversation", 1, messages)).ids == ids, name
        assert theirs.eos_token_id in encoder.eos_ids


@pytest.mark.slow
def test_templates_render_as_transformers_renders_them() -> None:
    theirs = pytest.importorskip("transformers.utils.chat_template_utils")
    source = """
    {%- set box = namespace(n=0) %}
    {% for message in messages %}
        {% if message.role == 'system' %}{% continue %}{% endif %}
        {%- set box.n = box.n + 1 %}
      {{ dict(a=box.n, b="<é>") | tojson }} {{ message | tojson(indent=2) }}
        {% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}
        {% endif %}
    {% endfor %}
    {{ tools | tojson }} {{ strftime_now('%Y') }} {{ eos_token }}
    """
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "<&> 'q' \""},
        {"role": "assistant", "content": "a", "reasoning_content": "why"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"é": [1, None]}}}]
    expected, _ = theirs.render_jinja_template(
        [messages], tools=tools, chat_template=source, eos_token="</s>"
    )
    assert render(source, messages, {"eos_token": "</s>"}, tools) == expected[0]


@pytest.mark.parametrize("bad", [{"instruction": "q", "output": ""}, {"instruction": 3}])
def test_bad_rows_are_left_out_and_counted_or_stop_the_run(
    make_set: Any, model_folders: dict[str, Path], make_config: Any, bad: dict[str, Any]
) -> None:
    folder = str(make_set([*rows(3), bad, *rows(2)]))
    config = make_config(dataset="mine", dataset_dir=folder)
    prepared = prepare(config, Encoder(model_folders["chatml"], config))
    assert [problem.row for problem in prepared.dropped] == [4] and len(prepared.train) == 5
    assert any("1 row left out; row 4" in note for note in prepared.notes)
    config = make_config(dataset="mine", dataset_dir=folder, bad_rows="stop")
    with pytest.raises(BadInput, match="Row 4 of mine") as stopped:
        prepare(config, Encoder(model_folders["chatml"], config))
    assert stopped.value.problem.setting == "bad_rows"


def test_rows_that_turn_out_bad_as_tokens_stop_the_run_too(
    make_set: Any, model_folders: dict[str, Path], make_config: Any
) -> None:
    pairs = [
        {"instruction": "q", "chosen": "one", "rejected": "two"},
        {"instruction": "q", "chosen": "same", "rejected": "same"},
    ]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    folder = str(make_set(pairs, ranking=True, columns=columns))
    config = make_config(dataset="mine", dataset_dir=folder, stage="dpo", bad_rows="stop")
    with pytest.raises(BadInput, match=r"Row 2 of mine: .* are the same"):
        prepare(config, Encoder(model_folders["chatml"], config))


def test_placeholders_are_told_without_saying_what_the_rows_are_for(
    make_set: Any, make_config: Any
) -> None:
    # The same note stands in a prediction's log, which trains on nothing.
    rows = [
        {"instruction": "Who?", "output": "I am {{name}}."},
        {"instruction": "q", "output": "a"},
    ]
    config = make_config(dataset="mine", dataset_dir=str(make_set(rows)))
    (note,) = select(config, config.datasets).notes
    assert note == (
        "mine: {{name}} or {{author}} stands in 1 of its rows; it is read as it stands."
    )
