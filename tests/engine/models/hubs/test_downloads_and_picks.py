"""Downloads on their own thread, and what the picker lists before and after them."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_config import RunConfig
from engine.worker import Engine
from engine.worker.catalogue import (
    code_is_trusted,
    matching,
    own_code_problem,
    pickable,
    pickables,
    template_note,
    trust_code,
)

MODEL = "org/tiny"


@pytest.fixture
def engine() -> Any:
    made = Engine()
    yield made
    made.shutdown(False, 10)


def config(**changes: Any) -> RunConfig:
    return RunConfig(**{"model_name_or_path": MODEL, **changes})


def test_a_download_runs_beside_look_ups_and_tells_how_far_it_is(stand_in, engine) -> None:
    held = threading.Event()
    # The look-up thread is busy the whole time: a download does not wait for it.
    busy = engine.lookup(held.wait)
    ended = engine.downloads.begin(config()).result(60)
    assert ended.state == "done" and ended.licence == "apache-2.0"
    assert Path(ended.folder, "model.safetensors").is_file()
    assert not busy.done()
    held.set()
    download = engine.downloads.of(MODEL)
    assert download is not None and download.done == download.total > 0
    assert download.file == "model.safetensors" and download.number == download.count > 1


def test_what_went_wrong_stands_in_its_state(stand_in, engine) -> None:
    stand_in.gated = True
    failed = engine.downloads.begin(config()).result(60)
    assert failed.state == "failed" and failed.problem.what == "org/tiny is gated."
    stand_in.gated = False
    assert engine.downloads.begin(config()).result(60).state == "done"


def test_a_stopped_download_goes_on_later(stand_in, engine, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("engine.datasets.fetching.WAITS", (30.0,))
    stand_in.break_after = [50_000]
    future = engine.downloads.begin(config())
    broken_off = False
    while not broken_off:
        assert not future.done()
        # Parts of smaller files come and go meanwhile.
        with suppress(FileNotFoundError):
            broken_off = 50_000 in [part.stat().st_size for part in tmp_path.rglob("*.part")]
    engine.downloads.stop(MODEL)
    assert future.result(20).state == "stopped"
    stand_in.asked.clear()
    assert engine.downloads.begin(config()).result(60).state == "done"
    assert stand_in.asked == [("model.safetensors", "bytes=50000-")]


def test_the_picker_lists_what_is_here_first_then_the_fields_models() -> None:
    lines = pickables("huggingface")
    assert lines[0].id == "demo"
    assert len(lines) > 630
    (found,) = matching(lines, "qwen3 4b instruct 2507")
    assert (found.id, found.size, found.template) == (
        "Qwen/Qwen3-4B-Instruct-2507", "4B", "qwen3_nothink"
    )  # fmt: skip
    assert not found.ready and found.hub == "huggingface"


def test_on_modelscope_the_other_ids_are_offered_and_what_is_not_there_from_hugging_face() -> None:
    by_name = {line.name: line for line in pickables("modelscope")}
    llama = by_name["Llama-3-8B"]
    assert (llama.id, llama.hub) == ("LLM-Research/Meta-Llama-3-8B", "modelscope")
    assert llama.other_id == "meta-llama/Meta-Llama-3-8B"
    olmo = by_name["OLMo-1B"]
    assert (olmo.id, olmo.hub) == ("allenai/OLMo-1B-hf", "huggingface")


def test_a_model_on_disk_stands_once_with_what_the_catalogue_knows(
    tiny_llama: Path, tmp_path: Path
) -> None:
    import shutil

    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    root = tmp_path / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    shutil.copytree(tiny_llama, root / "snapshots" / "abc")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    found = [line for line in pickables("huggingface") if line.id == name]
    assert [(line.ready, line.size, line.template) for line in found] == [(True, "135M", "smollm2")]
    line = pickable(name)
    assert line is not None and line.ready
    # Its template says what the field's name for it says.
    assert template_note(name) == ""
    config = root / "snapshots" / "abc" / "chat_template.jinja"
    config.write_text("{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}")
    assert "smollm2" in template_note(name) and "another text" in template_note(name)


def test_code_of_its_own_is_asked_for_once(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    mapped = {"AutoConfig": "configuration_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": mapped}))
    (folder / "modeling_own.py").write_text("x = 1\n")
    problem = own_code_problem(str(folder), "huggingface")
    assert problem is not None and "modeling_own.py" in problem.what
    assert not code_is_trusted(str(folder), "huggingface")
    trust_code(str(folder), str(folder))
    assert code_is_trusted(str(folder), "huggingface")
    assert own_code_problem(str(folder), "huggingface") is None
    assert own_code_problem("org/absent", "huggingface") is None
