"""The commands as a person runs them: exit codes, one clear sentence, nothing else on the line."""

from __future__ import annotations

import json
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]


@pytest.fixture
def finetui(tmp_path):
    """Run one command in an empty folder, with an empty state and no network."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "FINETUI_STATE": str(tmp_path / "state"),
        "FINETUI_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    work = tmp_path / "work"
    work.mkdir()

    def run(*words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tui", *words],
            cwd=work, env=environment | more, input=stdin, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip

    run.work = work
    return run


@pytest.fixture
def model(tmp_path):
    """A model folder as far as looking at it goes: a config, a tokenizer, one small weight."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
        "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 32, "max_position_embeddings": 64,
        "tie_word_embeddings": True, "torch_dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _errors(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def _one_error(done, code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert len(_errors(done)) == 1, done.stderr
    return done.stderr


def test_a_missing_file(finetui):
    said = _one_error(finetui("train", "nowhere.yaml"), 2)
    assert "nowhere.yaml" in said


def test_malformed_yaml_names_its_line(finetui):
    (finetui.work / "run.yaml").write_text("stage: sft\ndataset: [identity\nlora_rank: 8\n")
    said = _one_error(finetui("train", "run.yaml"), 2)
    assert "run.yaml:3" in said


def test_an_unknown_setting_names_its_neighbour(finetui):
    said = _one_error(finetui("train", "learning_rte=1e-4"), 2)
    assert "learning_rte" in said and "Did you mean learning_rate?" in said


def test_a_value_out_of_bounds(finetui):
    said = _one_error(finetui("train", "lora_rank=-3"), 2)
    assert "lora_rank" in said and "-3" in said


def test_several_problems_are_all_told(finetui):
    done = finetui("train", "lora_rank=-3", "learning_rte=1")
    assert done.returncode == 2 and len(_errors(done)) == 2


def test_a_model_folder_without_weights(finetui, model):
    said = _one_error(finetui("train", f"model_name_or_path={model}", "--dry-run"), 2)
    assert str(model) in said and "weights" in said
    assert not (finetui.work / "saves").exists()


def test_a_dataset_that_is_not_there(finetui):
    said = _one_error(finetui("train", "dataset=identiti", "--dry-run"), 2)
    assert "identiti" in said and "identity" in said


def test_a_hub_that_is_away_is_one_sentence_and_no_librarys(finetui):
    (finetui.work / "dataset_info.json").write_text('{"far": {"hf_hub_url": "org/set"}}')
    nobody = {"HF_HUB_OFFLINE": "", "HF_ENDPOINT": "http://127.0.0.1:9"}
    said = _one_error(finetui("datasets", "show", "far", "--dataset-dir", ".", **nobody), 2)
    first, where, hint = said.splitlines()
    assert first.startswith("error: The hub can't be reached, so org/set could not be fetched")
    assert where == "  where: dataset far" and hint.startswith("  try:   Check the network")


def test_a_registry_with_broken_json_names_its_line(finetui):
    folder = finetui.work / "sets"
    folder.mkdir()
    (folder / "dataset_info.json").write_text('{\n "a": {"file_name": "a.json"}\n "b": {}\n}')
    said = _one_error(finetui("datasets", "show", "a", "--dataset-dir", "sets"), 2)
    assert "dataset_info.json" in said and "3" in said


def test_a_row_without_an_answer_names_its_number(finetui):
    folder = finetui.work / "sets"
    folder.mkdir()
    (folder / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    rows = [{"instruction": "hi", "output": "hello"}, {"instruction": "bye", "output": ""}]
    (folder / "a.json").write_text(json.dumps(rows))
    good = finetui("datasets", "show", "a", "--dataset-dir", "sets")
    assert good.returncode == 0 and "hello" in good.stdout
    said = _one_error(finetui("datasets", "show", "a", "--dataset-dir", "sets", "--row", "2"), 2)
    assert "row 2" in said


def test_an_output_folder_in_use_is_left_alone(finetui):
    (finetui.work / "run").mkdir()
    log = finetui.work / "run" / "trainer_log.jsonl"
    log.write_text("{}\n")
    done = finetui("train", "output_dir=run", "--dry-run")
    assert done.returncode == 2 and "already holds a run" in done.stderr
    assert log.read_text() == "{}\n"


def test_the_parsers_own_errors(finetui):
    done = finetui("trian")
    assert done.returncode == 2 and "train" in done.stderr and done.stdout == ""
    assert finetui("train", "--no-such").returncode == 2
    assert finetui("datasets", "show", "identity", "--row", "0").returncode == 2


def test_a_run_or_checkpoint_that_is_not_there(finetui):
    assert "no run sft-1" in _one_error(finetui("runs", "show", "sft-1"), 2)
    for place in ("saves/x", "saves/x/checkpoint-5"):
        assert "no such run to resume" in _one_error(finetui("train", "--resume", place), 2)
    (finetui.work / "saves" / "x").mkdir(parents=True)
    assert "settings are not there" in _one_error(finetui("train", "--resume", "saves/x"), 2)


def test_settings_beside_resume_change_the_runs_own(finetui):
    run = finetui.work / "saves" / "x"
    run.mkdir(parents=True)
    (run / "training_args.yaml").write_text("model_name_or_path: demo\ndataset: its_own\n")
    refused = _one_error(finetui("train", "--resume", "saves/x", "max_steps=9", "--dry-run"), 2)
    assert "its_own" in refused


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(finetui, closed):
    """As a daemon or a cron job may start it."""
    words = [sys.executable, "-m", "tui", "train", "output_dir=/dev/null/run"]
    shell = f"exec {shlex.join(words)} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "FINETUI_STATE": str(finetui.work)}
    done = subprocess.run(
        ["sh", "-c", shell], cwd=finetui.work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "2>&-" in closed or "folder can't be made" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(finetui):
    done = finetui("runs", "show", "none", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_a_dry_run_tells_everything_and_writes_nothing(finetui):
    done = finetui("train", "--dry-run", "identity_name=Max", "num_train_epochs=2")
    assert done.returncode == 0 and done.stderr == ""
    told = (
        "identity_name", "Max", "rows                  91", "24 (12 an epoch", "memory",
        "trainable parameters  2,442,240", "libraries and gaps", "saves/SmolLM2-135M-Instruct/lora",
    )  # fmt: skip
    for part in told:
        assert part in done.stdout, done.stdout
    assert list(finetui.work.iterdir()) == []


def test_a_dry_run_loads_no_torch(tmp_path):
    code = (
        "import sys\nfrom engine.cli import main\nassert main(['train', '--dry-run']) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'textual', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO), "FINETUI_STATE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_lists_on_empty_and_full_folders(finetui):
    assert "No runs yet" in finetui("runs").stdout
    run = finetui.work / "saves" / "tiny" / "lora" / "train_1"
    run.mkdir(parents=True)
    (run / "trainer_log.jsonl").write_text(
        '{"current_steps": 5, "total_steps": 5, "loss": 1.25, "lr": 0.0001}\n'
    )
    (run / "train_results.json").write_text("{}")
    listed = finetui("runs")
    assert listed.returncode == 0 and "train_1" in listed.stdout and "1.25" in listed.stdout
    shown = finetui("runs", "show", "train_1")
    assert shown.returncode == 0 and "1e-4" in shown.stdout
    missing = _one_error(finetui("runs", "resume", "train_1", "--from", "7"), 2)
    assert "no checkpoint of step 7" in missing
    sets = finetui("datasets")
    assert sets.returncode == 0 and "identity" in sets.stdout
    assert "demo" in finetui("models").stdout


def test_foreign_text_sends_no_escapes(finetui):
    folder = finetui.work / "sets"
    folder.mkdir()
    (folder / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    row = {"instruction": "\x1b[31m[/b] \u202e", "output": "\x07ok"}
    (folder / "a.json").write_text(json.dumps([row]))
    shown = finetui("datasets", "show", "a", "--dataset-dir", "sets").stdout
    assert "\\x1b[31m[/b] \\u202e" in shown and "\\x07ok" in shown
    assert "\x1b" not in shown and "\u202e" not in shown and "\x07" not in shown


def test_the_settings_reference_and_the_version(finetui):
    page = finetui("settings")
    assert page.returncode == 0 and "`lora_rank`" in page.stdout and "## LoRA" in page.stdout
    assert "not here" in finetui("settings", "--keys").stdout
    assert _one_error(finetui("settings", "no_such_key"), 2)
    assert finetui("version").stdout.startswith("finetui ")
    assert finetui("--version").stdout == finetui("version").stdout


def test_help_and_a_screen_without_a_terminal(finetui):
    assert "finetui COMMAND" in finetui("--help").stdout
    for command in ("train", "chat", "evaluate", "export", "runs", "models", "datasets", "doctor"):
        assert "Usage: finetui" in finetui(command, "--help").stdout
    for group, command in (("datasets", "show"), ("models", "path"), ("runs", "list")):
        assert f"Usage: finetui {group} {command}" in finetui(group, command, "--help").stdout
    assert "needs a terminal" in _one_error(finetui(), 2)
    assert "needs a terminal" in _one_error(finetui("--lang", "zh"), 2)


def test_a_reader_that_leaves_early_is_no_error(finetui, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO), "FINETUI_STATE": str(tmp_path / "s")}
    done = subprocess.run(
        f"{sys.executable} -m tui settings | head -n 1",
        shell=True, env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr == ""


def test_damaged_weights_are_named(finetui, model):
    bad = model / "model.safetensors"
    bad.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    (model / "tokenizer.json").write_text("{}")
    done = finetui("train", f"model_name_or_path={model}", "--dry-run")
    assert done.returncode == 2 and str(bad) in done.stderr and "Traceback" not in done.stderr


def _set(folder: Path, text: str) -> list[str]:
    folder.mkdir()
    (folder / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    (folder / "mine.json").write_text(text)
    return ["train", "dataset=mine", f"dataset_dir={folder}", "--dry-run"]


def test_a_dry_run_names_rows_that_cant_be_used(finetui, tmp_path):
    good, bad = '{"instruction": "a", "output": "b"}', '{"instruction": "c"}'
    done = finetui(*_set(tmp_path / "one", f"[{good},\n{bad}]"))
    assert done.returncode == 0
    assert "mine, row 2" in done.stdout
    said = _one_error(finetui(*_set(tmp_path / "none", f"[{bad}]")), 2)
    assert "row 1" in said


def test_a_dry_run_names_the_line_of_broken_json(finetui, tmp_path):
    said = _one_error(finetui(*_set(tmp_path / "broken", '[{"instruction": "a"\n"output": 1}]')), 2)
    assert "mine.json" in said and "2" in said
