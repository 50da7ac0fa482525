"""Sets of a hub that are read as they come: nothing on the disk, the same row after a resume."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import find_dataset
from engine.datasets.far_rows import FarRows, far_rows
from engine.datasets.hub import Access
from engine.events import Evaluated, LogLine, StepLogged
from engine.problem import BadInput
from engine.training import run_training
from tests.engine.training.far_hub import REPO, FarHub, serving

ROWS = [{"instruction": f"say {n}", "output": f"it is {n} of {n * n}"} for n in range(40)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, file, row_group_size=6)
    return file.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarHub]:
    import datasets.config as config
    import huggingface_hub.constants as constants
    from huggingface_hub import HfFileSystem

    one = FarHub(
        {
            "README.md": b"# A set\n",
            "train-0.jsonl": lines(ROWS[:15]),
            "train-1.jsonl": lines(ROWS[15:22]),
            "train-2.jsonl": lines(ROWS[22:]),
        }
    )
    with serving(one) as url:
        place = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(config, "HF_ENDPOINT", url)
        monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / "arrow"))
        monkeypatch.setattr(config, "STREAMING_READ_MAX_RETRIES", 1)
        monkeypatch.setattr(config, "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL", 0)
        monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
        HfFileSystem.clear_instance_cache()
        yield one
        HfFileSystem.clear_instance_cache()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "near.jsonl").write_bytes(lines(ROWS))
    info = {"far": {"hf_hub_url": REPO}, "near": {"file_name": "near.jsonl"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def rows(hub: FarHub, registry: Path) -> Callable[[], FarRows]:
    return lambda: far_rows(find_dataset("far", registry), Access())


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_come_in_their_order_and_again_from_any_place(
    rows: Callable[[], FarRows], hub: FarHub, kind: str
) -> None:
    if kind == "parquet":
        hub.files = {
            "train-0.parquet": parquet(ROWS[:17]),
            "train-1.parquet": parquet(ROWS[17:]),
        }
    whole = rows()
    assert [whole[place] for place in range(len(ROWS))] == ROWS
    assert not whole.done
    with pytest.raises(IndexError):
        whole[len(ROWS)]
    assert whole.done and len(whole) == len(ROWS)
    assert whole[0] == ROWS[0] and whole[3] == ROWS[3]  # a second pass
    for number in (1, 7, 14, 15, 16, 22, 31, 39):
        before = rows()
        before[number]
        before[number - 1]  # who has looked one row ahead still stands at this one
        place = json.loads(json.dumps(before.place(number)))
        after = rows()
        after.go_to(place)
        assert [after[n] for n in range(number, len(ROWS))] == ROWS[number:]


def test_files_that_were_passed_are_not_read_again(
    rows: Callable[[], FarRows], hub: FarHub
) -> None:
    many = [{"instruction": f"say {n}", "output": "yes"} for n in range(10_000)]
    for number in range(4):
        hub.files[f"train-{number}.jsonl"] = lines(many[2500 * number : 2500 * (number + 1)])
    first = rows()
    first[9000]
    place = first.place(9000)
    assert place is not None
    assert hub.sent("train-1.jsonl")
    hub.asked.clear()
    again = rows()
    again.go_to(place)
    assert again[9000] == many[9000]
    # The first file tells how all are packed; the second is passed over.
    assert hub.sent("train-3.jsonl") and not hub.sent("train-1.jsonl")


def test_a_hub_that_does_not_answer_is_told(rows: Callable[[], FarRows], hub: FarHub) -> None:
    hub.files.clear()
    with pytest.raises(BadInput) as caught:
        rows()[0]
    problem = caught.value.problem
    assert REPO in problem.what and problem.where == "dataset far" and problem.hint


STREAM = {"streaming": True, "max_steps": 8, "buffer_size": 6, "save_steps": 3}


@pytest.fixture
def train(
    tmp_path: Path, hub: FarHub, registry: Path, make_config: Any, make_session: Any
) -> Callable[..., Any]:
    def run(name: str, **changes: Any) -> tuple[dict[str, Any], Any]:
        session, heard = make_session(tmp_path / name)
        config = make_config(
            **{"dataset": "far", "dataset_dir": str(registry), **STREAM, **changes}
        )
        return run_training(config, session), heard

    return run


def losses(heard: Any, after: int = 0) -> list[float]:
    return [event.loss for event in heard.of(StepLogged) if event.step > after]


def test_a_far_set_trains_as_the_same_set_on_disk(
    train: Callable[..., Any], hub: FarHub, tmp_path: Path
) -> None:
    _, heard = train("far", disable_shuffling=True)
    _, plain = train("near", dataset="near", disable_shuffling=True, streaming=False)
    assert losses(heard) == losses(plain) and len(losses(heard)) == 8
    # What was read lies nowhere on the disk.
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and "registry" not in file.parts]
    assert not any(b"it is 3 of 9" in file.read_bytes() for file in kept)
    card = (tmp_path / "far" / "README.md").read_text()
    assert "| far | 3" in card  # the rows that were read
    told = [event.text for event in heard.of(LogLine)]
    assert any("far (from the hub)" in text for text in told), told


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"packing": True, "preprocessing_batch_size": 3, "cutoff_len": 64},
        # 60 and more rows of 40: the second pass is another order of the same rows.
        pytest.param(
            {"dataset": "far,near", "mix_strategy": "interleave_once", "max_steps": 40},
            marks=pytest.mark.slow,
        ),
        {"dataset": "near,far", "mix_strategy": "interleave_over", "interleave_probs": "0.3,0.7"},
    ],
    ids=["far", "packed", "mixed and passed", "by shares"],
)
@pytest.mark.parametrize("marks", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_far_run_resumes_at_its_row(
    train: Callable[..., Any], tmp_path: Path, options: dict[str, Any], marks: bool
) -> None:
    last = 33 if options.get("max_steps") == 40 else 6
    whole, heard = train("whole", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for folder in (tmp_path / "again").glob("checkpoint-*"):
        if folder.name != f"checkpoint-{last}":
            shutil.rmtree(folder)
    if not marks:
        (tmp_path / "again" / "stream.jsonl").unlink()
    again, heard_again = train("again", **options, resume_from_checkpoint=True)
    assert losses(heard_again, last) == losses(heard, last) != []
    assert again["tokens"] == whole["tokens"]


def test_rows_held_out_of_a_far_set_are_not_trained_on(
    train: Callable[..., Any], registry: Path
) -> None:
    _, heard = train("run", val_size=3, eval_strategy="steps", eval_steps=4, disable_shuffling=True)
    assert len(heard.of(Evaluated)) == 2
    (registry / "near.jsonl").write_bytes(lines(ROWS[3:]))
    _, others = train("plain", dataset="near", streaming=False, disable_shuffling=True)
    assert losses(heard) == losses(others)


@pytest.mark.slow
def test_a_hub_that_falls_silent_costs_no_step(
    train: Callable[..., Any], hub: FarHub, tmp_path: Path, make_session: Any, make_config: Any
) -> None:
    _, whole = train("whole", save_steps=100)
    session, heard = make_session(tmp_path / "broken")
    config = make_config(
        dataset="far", dataset_dir=str(tmp_path / "registry"), **{**STREAM, "save_steps": 100}
    )

    def falls_silent(event: Any) -> None:
        if isinstance(event, StepLogged) and event.step == 2:
            hub.down = True

    heard.on = falls_silent
    with pytest.raises(BadInput) as caught:
        run_training(config, session)
    assert "could not be read on from row" in caught.value.problem.what
    assert "resume" in caught.value.problem.hint
    reached = heard.of(StepLogged)[-1].step
    assert reached < 8 and (tmp_path / "broken" / f"checkpoint-{reached}").is_dir()
    hub.down = False
    _, resumed = train("broken", save_steps=100, resume_from_checkpoint=True)
    assert [*losses(heard), *losses(resumed, reached)] == losses(whole)


def test_rows_that_an_entry_counts_are_not_bounded_by_it(
    train: Callable[..., Any], registry: Path
) -> None:
    info = {"far": {"hf_hub_url": REPO, "num_samples": 4}}
    (registry / "dataset_info.json").write_text(json.dumps(info))
    _, heard = train("run", max_steps=2)
    assert any("num_samples bounds no stream" in event.text for event in heard.of(LogLine))
