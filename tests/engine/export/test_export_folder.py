"""What lies in an exported folder, and what an export never touches."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.events import Progress
from engine.problem import BadInput, JobFault, Stopped


def export(config: Any, session: Any) -> tuple[dict[str, Any], Path]:
    from engine.export import run_export

    result = run_export(config, session)
    return result, Path(result["folder"])


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, engine.export; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_a_model_folder_needs(
    tied: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    from transformers import AutoTokenizer

    adapter = make_adapter(tied)
    session, heard = make_session()
    result, out = export(make_config(tied, adapter), session)
    assert sorted(path.name for path in out.iterdir()) == [
        "Modelfile", "README.md", "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert sorted(path.name for path in out.parent.iterdir()) == ["exported"]
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    turns = [{"role": "user", "content": "Hi"}]
    texts = [
        AutoTokenizer.from_pretrained(folder).apply_chat_template(turns, tokenize=False)
        for folder in (tied, out)
    ]
    assert texts[0] == texts[1]
    card = (out / "README.md").read_text()
    assert adapter.name in card and str(tied) not in card and "library_name: transformers" in card
    assert {event.activity for event in heard.of(Progress)} >= {"writing shards", "writing configs"}
    assert result["parameters"] == sum(tensor.numel() for tensor in _tensors(out).values())
    assert result["loads_as"] == "AutoModelForCausalLM"


def test_shards_and_their_index(
    apart: Path,
    make_adapter: Any,
    make_config: Any,
    make_session: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from engine.export import weights

    monkeypatch.setattr(weights, "GIGABYTE", 60_000)
    adapter = make_adapter(apart)
    session, heard = make_session()
    result, out = export(make_config(apart, adapter, export_size=1), session)
    files = sorted(out.glob("*.safetensors"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(files) == result["shards"] > 2
    assert {file.name for file in files} == set(index["weight_map"].values())
    tensors = _tensors(out)
    assert set(tensors) == set(index["weight_map"])
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())
    assert all(file.stat().st_size < 60_000 + 4096 for file in files)
    last = [event for event in heard.of(Progress) if event.activity == "writing shards"][-1]
    assert last.done == last.total == len(files)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert all(torch.equal(tensors[name], w) for name, w in model.state_dict().items())


def test_the_modelfile(tied: Path, make_config: Any, make_session: Any) -> None:
    _, out = export(make_config(tied, default_system="Be kind."), make_session()[0])
    text = (out / "Modelfile").read_text()
    assert "FROM .\n" in text and "<|im_start|>{{ .Role }}" in text
    assert 'SYSTEM """Be kind."""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text and "PARAMETER num_ctx 256" in text


def test_a_system_text_that_the_template_writes_itself_stands_in_the_modelfile(
    tied: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    own = (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nI am small.<|im_end|>\n"
        "{% endif %}"
    )
    template = folder / "chat_template.jinja"
    template.write_text(own + template.read_text())
    _, out = export(make_config(folder), make_session()[0])
    assert 'SYSTEM """I am small."""' in (out / "Modelfile").read_text()


def test_the_template_that_a_base_was_trained_with_is_kept(
    tied: Path, tmp_path: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tied, base)
    (base / "chat_template.jinja").unlink()
    plain = make_config(base, export_dir=str(tmp_path / "plain"))
    _, out = export(plain, make_session()[0])
    assert not (out / "chat_template.jinja").exists()
    # An untrained base has none to keep; an adapter was trained on the plain format …
    _, out = export(make_config(base, make_adapter(base)), make_session()[0])
    assert "Human: " in (out / "chat_template.jinja").read_text()
    # … or on the one that its folder holds.
    adapter = make_adapter(base, "own")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, adapter / name)
    (adapter / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}<|im_end|>")
    config = make_config(base, adapter, export_dir=str(tmp_path / "third"))
    _, out = export(config, make_session()[0])
    assert (out / "chat_template.jinja").read_text().startswith("{{ messages[-1]")


def test_every_end_id_is_in_the_generation_config(
    tied: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 0, "temperature": 0.6}')
    _, out = export(make_config(folder), make_session()[0])
    generation = json.loads((out / "generation_config.json").read_text())
    assert set(generation["eos_token_id"]) == {0, 2} and generation["temperature"] == 0.6


def test_existing_files_are_never_overwritten(
    tied: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    refused = {
        "holds files already": tmp_path / "full",
        "is a file": tmp_path / "file",
        "is the folder that is exported": tied,
        "lies inside": tied / "exported",
    }
    for words, folder in refused.items():
        with pytest.raises(BadInput, match=words) as caught:
            export(make_config(tied, export_dir=str(folder)), make_session()[0])
        assert caught.value.problem.setting == "export_dir"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert not (tied / "exported").exists()
    (tmp_path / "empty").mkdir()
    _, out = export(make_config(tied, export_dir=str(tmp_path / "empty")), make_session()[0])
    assert (out / "model.safetensors").is_file()


def test_a_disk_without_room_is_told_before_anything_is_written(
    tied: Path, tmp_path: Path, make_config: Any, make_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    )
    with pytest.raises(JobFault, match="too little room"):
        export(make_config(tied), make_session()[0])
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_nothing(tied: Path, tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    code = (
        "import resource, signal, sys\n"
        "from engine.config import read_flat\n"
        "from engine.export import run_export\n"
        "from engine.problem import JobFault\n"
        "from engine.runs.session import JobSession\n"
        "import torch, transformers\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "flat = {'model_name_or_path': sys.argv[1], 'export_dir': sys.argv[2], 'use_cpu': True}\n"
        "try:\n"
        "    run_export(read_flat(flat, 'test').config, JobSession('t', None, lambda e: None))\n"
        "except JobFault as fault:\n"
        "    print(fault.problem.what)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tied), str(tmp_path / "out" / "exported")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "The disk is full" in done.stdout, done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_known_by_its_error_alone() -> None:
    from engine.export.target import is_disk_full

    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    outer = RuntimeError("saving failed")
    outer.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_disk_full(outer) and not is_disk_full(OSError(errno.EACCES, "no"))


def test_a_stop_leaves_nothing(
    tied: Path, tmp_path: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    session, heard = make_session()
    heard.on = lambda event: (
        isinstance(event, Progress) and event.activity == "merging" and session.control.stop()
    )
    with pytest.raises(Stopped):
        export(make_config(tied, make_adapter(tied)), session)
    assert not list((tmp_path / "out").iterdir())


def test_what_a_killed_export_left_is_swept_away(
    tied: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    left = tmp_path / "out" / ".exported.partial"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    _, out = export(make_config(tied), make_session()[0])
    assert [path.name for path in out.parent.iterdir()] == ["exported"]


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found
