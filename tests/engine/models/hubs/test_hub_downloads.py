"""Downloads from the Hugging Face hub, from a stand-in on this machine that behaves badly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.models import hub, transfer
from engine.models.hub_cache import cached_snapshot
from engine.models.locate import known_models, resolve
from engine.models.places import place_of, places
from engine.problem import BadInput, JobFault, Stopped

MODEL = "org/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fetch(told: Any, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "model": MODEL,
        "revision": "main",
        "cache_dir": None,
        "token": None,
        "with_code": False,
        "local_choices": ["demo", "org/other"],
        "progress": told.progress,
        "check_stop": lambda: None,
    }
    return hub.download_model(**{**given, **changes})


def test_a_download_brings_what_a_model_is_loaded_from_and_nothing_else(stand_in, told) -> None:
    folder = fetch(told)
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "pytorch_model.bin" not in names and "onnx" not in names
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights
    # Weights come last: where they are whole, everything is.
    assert stand_in.asked[-1][0] == "model.safetensors"
    found = resolve(MODEL)
    assert (found.path, found.source) == (folder, "cache")


def test_the_hubs_own_library_finds_it_in_its_cache(stand_in, told) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download

    folder = fetch(told)
    cache = folder.parents[2]
    theirs = snapshot_download(MODEL, local_files_only=True, cache_dir=cache)
    assert Path(theirs) == folder
    report = scan_cache_dir(cache)
    assert [repo.repo_id for repo in report.repos] == [MODEL] and not report.warnings


def test_progress_tells_file_by_file(stand_in, told) -> None:
    fetch(told)
    lines = [line for line in told.lines if line[2]]
    files = [name for name, _range in stand_in.asked]
    total = sum(len(stand_in.files[name]) for name in set(files))
    count = len(set(files))
    assert lines[0][0] == f"Downloading org/tiny: file 1 of {count}, README.md"
    assert lines[-1] == (
        f"Downloading org/tiny: file {count} of {count}, model.safetensors", total, total, "bytes"
    )  # fmt: skip
    done = [line[1] for line in lines]
    assert done == sorted(done)


def test_a_break_in_the_middle_is_gone_on_from(stand_in, told) -> None:
    stand_in.break_after = [50_000, 20_000]
    folder = fetch(told)
    asked = [wanted for name, wanted in stand_in.asked if name == "model.safetensors"]
    assert asked == ["", "bytes=50000-", "bytes=70000-"]
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights


def test_what_came_is_kept_when_every_try_breaks_and_when_the_program_ends(stand_in, told) -> None:
    stand_in.break_after = [30_000, 0, 0]
    with pytest.raises(JobFault) as fault:
        fetch(told)
    problem = fault.value.problem
    assert "can't be reached" in problem.what and "kept" in problem.hint
    assert "org/other" in problem.hint
    assert cached_snapshot(MODEL) is None
    stand_in.asked.clear()
    folder = fetch(told)
    assert stand_in.asked == [("model.safetensors", "bytes=30000-")]
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights


def test_a_server_that_ignores_ranges_is_read_from_the_start(stand_in, told) -> None:
    stand_in.break_after = [30_000]
    stand_in.ignore_range = True
    folder = fetch(told)
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights


def test_a_stop_ends_it_and_the_next_one_goes_on(stand_in, told, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "STEP_BYTES", 1000)

    def stop() -> None:
        if told.lines and "safetensors" in told.lines[-1][0]:
            weights = len(stand_in.weights)
            if told.lines[-1][2] - told.lines[-1][1] < weights - 10_000:
                raise Stopped

    with pytest.raises(Stopped):
        fetch(told, check_stop=stop)
    stand_in.asked.clear()
    told.lines.clear()
    fetch(told)
    ((name, wanted),) = stand_in.asked
    assert name == "model.safetensors" and int(wanted[6:-1]) > 10_000


def test_damaged_weights_are_not_kept(stand_in, told) -> None:
    stand_in.damage = True
    with pytest.raises(JobFault) as fault:
        fetch(told)
    assert "model.safetensors arrived damaged" in fault.value.problem.what
    assert cached_snapshot(MODEL) is None
    stand_in.damage = False
    assert fetch(told).is_dir()


def test_a_disk_without_room_is_told_before_the_weights(stand_in, told, monkeypatch) -> None:
    usage = SimpleNamespace(total=10, used=0, free=transfer.SPARE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(JobFault) as fault:
        fetch(told)
    problem = fault.value.problem
    assert "needs" in problem.what and "200.0 MB are free" in problem.what
    assert problem.setting == "cache_dir"
    assert "model.safetensors" not in [name for name, _range in stand_in.asked]


def test_a_gated_model_and_an_unknown_one_are_told_apart(stand_in, told) -> None:
    stand_in.gated = True
    with pytest.raises(BadInput, match="org/tiny is gated"):
        fetch(told)
    stand_in.gated = False
    with pytest.raises(BadInput, match="no model org/nothing"):
        fetch(told, model="org/nothing")
    with pytest.raises(BadInput, match="no revision v9"):
        fetch(told, revision="v9")


def test_a_hub_that_is_down_gives_one_sentence_and_the_local_choices(
    stand_in, told, monkeypatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(JobFault) as fault:
        fetch(told)
    assert "The hub can't be reached" in fault.value.problem.what
    assert "demo, org/other" in fault.value.problem.hint


def test_offline_mode_asks_nobody(stand_in, told, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(JobFault, match="HF_HUB_OFFLINE is set"):
        fetch(told)
    assert not stand_in.asked and not stand_in.tokens


def test_licence_and_place_are_remembered(stand_in, told, tmp_path) -> None:
    folder = fetch(told, cache_dir=str(tmp_path / "elsewhere"))
    place = place_of(MODEL)
    assert place is not None
    assert (place.licence, place.hub, place.revision) == ("apache-2.0", "huggingface", COMMIT)
    # Without cache_dir it is found where it was put.
    assert resolve(MODEL).path == folder
    entry = next(entry for entry in known_models() if entry.id == MODEL)
    assert entry.ready and entry.path == folder and entry.hub == "huggingface"
    shutil.rmtree(tmp_path / "elsewhere")
    assert place_of(MODEL) is None and MODEL in places()
    with pytest.raises(BadInput, match="not on this machine"):
        resolve(MODEL)


def test_a_licence_that_only_the_readme_tells(stand_in, told) -> None:
    stand_in.card = {}
    fetch(told)
    place = place_of(MODEL)
    assert place is not None and place.licence == "apache-2.0"


def test_the_token_is_sent_and_never_written(stand_in, told, tmp_path) -> None:
    secret = "hf_" + "s" * 30
    fetch(told, token=secret, cache_dir=str(tmp_path / "cache"))
    assert f"Bearer {secret}" in stand_in.tokens
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    assert secret not in repr(told.lines)


def own_code(stand_in: Any) -> None:
    config = json.loads(stand_in.files["config.json"])
    config |= {
        "model_type": "of_its_own",
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnModel",
        },
    }
    stand_in.files["config.json"] = json.dumps(config).encode()
    stand_in.files["configuration_own.py"] = b"raise SystemExit('run!')\n"
    stand_in.files["modeling_own.py"] = b"raise SystemExit('run!')\n"


def test_a_model_with_code_of_its_own_is_refused_by_name_before_its_weights(stand_in, told) -> None:
    own_code(stand_in)
    with pytest.raises(BadInput) as refused:
        fetch(told)
    problem = refused.value.problem
    assert "org/tiny brings its own Python code" in problem.what
    assert "configuration_own.py, modeling_own.py" in problem.what
    assert problem.setting == "trust_remote_code"
    # The code lies there to be read; the weights don't.
    assert (Path(problem.where) / "modeling_own.py").is_file()
    assert "model.safetensors" not in [name for name, _range in stand_in.asked]


def test_trusted_code_comes_with_the_model(stand_in, told) -> None:
    own_code(stand_in)
    folder = fetch(told, with_code=True)
    assert (folder / "modeling_own.py").is_file() and (folder / "model.safetensors").is_file()
    with pytest.raises(BadInput, match="its own Python code"):
        resolve(MODEL, SimpleNamespace(trust_remote_code=False))
    assert resolve(MODEL, SimpleNamespace(trust_remote_code=True)).path == folder


def test_a_hub_model_without_safetensors_is_refused(stand_in, told) -> None:
    del stand_in.files["model.safetensors"]
    with pytest.raises(BadInput, match="only pickled weights"):
        fetch(told)
