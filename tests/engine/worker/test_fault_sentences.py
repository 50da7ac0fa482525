"""What a person is told about the errors of libraries and systems."""

from __future__ import annotations

import errno
import json
import os

import pytest

from engine.faults import explain, is_bad_input, poisons_device
from engine.problem import BadInput, JobFault, Problem


def _named(name: str, base: type[BaseException] = RuntimeError) -> type[BaseException]:
    """An error class as a library names it, without the library."""
    return type(name, (base,), {})


OOM = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79.10 GiB of "
    "which 1.20 GiB is free. Process 12 has 77 GiB memory in use."
)
MISMATCH = (
    "Error(s) in loading state_dict for PeftModel:\n\tsize mismatch for layers.0.q.lora_A.weight: "
    "copying a param with shape torch.Size([16, 576]) from checkpoint, the shape in current model "
    "is torch.Size([8, 576])."
)
CASES = [
    (_named("OutOfMemoryError")(OOM), "GPU ran out of memory (2.00 GiB more", "GPU 1", "Halve"),
    (RuntimeError("CUDA error: out of memory"), "GPU ran out of memory", "", "Halve"),
    (MemoryError(), "machine ran out of memory", "", "Halve"),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 4000000000 bytes. Error code 12"),
        "machine ran out of memory (4.0 GB", "", "Halve",
    ),
    (_named("AcceleratorError")("CUDA error: an illegal memory access was encountered"),
     "can't recover", "", "start it again"),
    (RuntimeError("Found no NVIDIA driver on your system."), "GPU can't be used", "", "nvidia-smi"),
    (OSError(errno.ENOSPC, "No space left on device", "/tmp/x/model.safetensors"),
     "disk is full", "/tmp/x/model.safetensors, ", "save_total_limit"),
    (_named("SafetensorError", Exception)("I/O error: No space left on device (os error 28)"),
     "disk is full", "GB free", "save_total_limit"),
    (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
     "disk is full", "GB free", ""),
    (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "may not read", "/root/x", ""),
    (FileNotFoundError(errno.ENOENT, "No such file", "/no/such"), "no such file", "/no/such", ""),
    (RuntimeError(MISMATCH), "16, 576 in the file, 8, 576 in the model", "", "adapter_config"),
    (_named("GatedRepoError", OSError)("403 https://huggingface.co/meta/L-8B/resolve/x gated repo"),
     "has to be asked for", "meta/L-8B", "HF_TOKEN"),
    (_named("RepositoryNotFoundError", OSError)("404 https://huggingface.co/api/models/a/b"),
     "knows no such model", "a/b", "name"),
    (_named("LocalEntryNotFoundError", FileNotFoundError)("offline"), "can't be reached", "",
     "local folder"),
    (OSError("We couldn't connect to 'https://huggingface.co' to load the files"),
     "can't be reached", "", "network"),
    (ModuleNotFoundError("No module named 'gguf'", name="gguf.x"), "gguf is not installed", "",
     "pip install gguf"),
    (ValueError("Please pass the argument `trust_remote_code=True`"), "own Python code", "",
     "trust_remote_code"),
    (FloatingPointError("nan"), "not finite", "", "learning_rate"),
    (RuntimeError("probability tensor contains either `inf`, `nan` or element < 0"), "not finite",
     "", ""),
    (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."), "worker process was "
     "killed", "", "dataloader_num_workers"),
    (IndexError("index out of range in self"), "beyond the model's vocabulary", "", "tokenizer"),
    (KeyError("odd"), "did not expect this error: KeyError: 'odd'", "", "traceback"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "what", "where", "hint"), CASES)
def test_the_sentence_the_place_and_the_way_out(error, what, where, hint):
    problem = explain(error)
    assert what in problem.what and where in problem.where and hint in problem.hint
    assert "\n" not in str(problem)


def test_the_damaged_file_is_found_in_the_frames(tmp_path):
    bad = tmp_path / "model.safetensors"
    bad.write_bytes(b"x")

    def load(filename):
        raise _named("SafetensorError", Exception)("Error while deserializing header: too small")

    try:
        load(str(bad))
    except Exception as error:
        problem = explain(error)
    assert problem.where == str(bad) and "damaged or incomplete" in problem.what


def test_json_and_text_that_can_not_be_read(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b'{"a": 1,\n "b" 2}')
    try:
        with path.open() as file:
            json.load(file)
    except json.JSONDecodeError as error:
        problem = explain(error)
    assert "not valid JSON" in problem.what and "line 2" in problem.where
    path.write_bytes(b"\xff\xfe")
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = explain(error)
    assert "not UTF-8" in problem.what and str(path) in problem.where


def test_the_cause_explains_what_a_wrapper_hides():
    try:
        try:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/ro/x")
        except OSError as inner:
            raise RuntimeError("could not save") from inner
    except RuntimeError as error:
        assert "only be read" in explain(error).what


def test_our_own_problems_pass_through():
    problem = Problem("The loss is not finite.", where="step 3")
    assert explain(JobFault(problem)) is problem
    assert is_bad_input(BadInput(problem)) and not is_bad_input(JobFault(problem))


def test_which_errors_end_the_gpu_for_this_process():
    assert poisons_device(RuntimeError("CUDA error: device-side assert triggered"))
    assert not poisons_device(_named("OutOfMemoryError")(OOM))
    assert not poisons_device(ValueError("illegal memory access in a row's text"))
