"""Downloads from ModelScope, by its own client, from a stand-in on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.config import check, with_value
from engine.config.run_config import RunConfig
from engine.models import transfer
from engine.models.locate import known_models, resolve
from engine.models.ms_cache import ms_revision
from engine.models.places import place_of
from engine.problem import BadInput, JobFault

pytest.importorskip("modelscope_hub")
MODEL = "org/tiny"


def config(**changes: Any) -> SimpleNamespace:
    given = {"hub": "modelscope", "model_revision": "main", "cache_dir": None}
    return SimpleNamespace(**{**given, **changes})


def test_a_model_comes_from_modelscope_and_lies_where_its_client_has_it(
    stand_in, told, modelscope_cache
) -> None:
    found = resolve(MODEL, config(), progress=told.progress)
    expected = modelscope_cache / "models" / "org--tiny" / "snapshots" / "master"
    assert (found.path, found.source) == (expected, "hub")
    assert (expected / "model.safetensors").read_bytes() == stand_in.weights
    assert not (expected / "pytorch_model.bin").exists()
    count = len({name for name, _range in stand_in.asked})
    assert told.lines[-1][0] == (
        f"Downloading org/tiny: file {count} of {count}, model.safetensors"
    )
    assert resolve(MODEL, config()).source == "cache"
    place = place_of(MODEL)
    assert place is not None and (place.hub, place.licence) == ("modelscope", "apache-2.0")
    entry = next(entry for entry in known_models() if entry.id == MODEL)
    assert entry.ready and entry.hub == "modelscope"


def test_the_clients_own_cache_finds_it(stand_in, told, modelscope_cache) -> None:
    from modelscope_hub import HubApi, HubConfig

    folder = resolve(MODEL, config(), progress=told.progress).path
    api = HubApi(config=HubConfig(cache_dir=modelscope_cache, endpoint=stand_in.url))
    theirs = api.download_file(MODEL, "model", "model.safetensors", local_files_only=True)
    assert Path(theirs) == folder / "model.safetensors"


def test_each_hub_has_its_own_models(stand_in, told) -> None:
    resolve(MODEL, config(), progress=told.progress)
    with pytest.raises(BadInput, match="not on this machine"):
        resolve(MODEL, config(hub="huggingface"))


def test_a_break_in_the_middle_is_gone_on_from(stand_in, told) -> None:
    stand_in.break_after = [50_000]
    folder = resolve(MODEL, config(), progress=told.progress).path
    asked = [wanted for name, wanted in stand_in.asked if name == "model.safetensors"]
    assert asked[0] == "" and len(asked) == 2
    # A piece that the break cut through is asked for again.
    assert 50_000 - (1 << 14) <= int(asked[1][6:-1]) <= 50_000
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights


def test_what_came_is_kept_when_every_try_breaks(stand_in, told) -> None:
    stand_in.break_after = [60_000, 0, 0]
    with pytest.raises(JobFault) as fault:
        resolve(MODEL, config(), progress=told.progress)
    assert "ModelScope can't be reached" in fault.value.problem.what
    assert "demo" in fault.value.problem.hint
    stand_in.asked.clear()
    resolve(MODEL, config(), progress=told.progress)
    ((name, wanted),) = stand_in.asked
    assert name == "model.safetensors" and int(wanted[6:-1]) > 40_000


def test_unknown_gated_and_down(stand_in, told, monkeypatch) -> None:
    with pytest.raises(BadInput, match="no model org/nothing"):
        resolve("org/nothing", config(), progress=told.progress)
    stand_in.gated = True
    with pytest.raises(BadInput, match="gated or private"):
        resolve(MODEL, config(), progress=told.progress)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(JobFault, match="ModelScope can't be reached"):
        resolve(MODEL, config(), progress=told.progress)


def test_a_disk_without_room_is_told_before(stand_in, told, monkeypatch) -> None:
    usage = SimpleNamespace(total=10, used=0, free=transfer.SPARE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(JobFault, match="needs"):
        resolve(MODEL, config(), progress=told.progress)


def test_the_token_is_sent_and_never_written(stand_in, told, tmp_path) -> None:
    secret = "ms-" + "s" * 30
    resolve(MODEL, config(ms_hub_token=secret), progress=told.progress)
    assert any(secret in token for token in stand_in.tokens)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_the_older_clients_layout_is_found(tiny_llama, modelscope_cache) -> None:
    folder = modelscope_cache / "hub" / "models" / "org" / "tiny___1"
    shutil.copytree(tiny_llama, folder)
    assert resolve("org/tiny.1", config()).path == folder


def test_main_is_called_master_there() -> None:
    assert ms_revision("main") == ms_revision(None) == "master"
    assert ms_revision("v1") == "v1"


def test_without_the_package_the_form_says_so(monkeypatch) -> None:
    run = RunConfig(model_name_or_path="org/tiny", hub="modelscope")
    assert "hub" not in [problem.setting for problem in check(run)]
    monkeypatch.setattr("engine.config.model.find_spec", lambda name: None)
    (problem,) = [problem for problem in check(run) if problem.setting == "hub"]
    assert problem.hint == "pip install 'finetui[modelscope]'"
    for name in ("demo", "/models/mine", "./mine"):
        other = with_value(run, "model_name_or_path", name)
        assert "hub" not in [problem.setting for problem in check(other)]
