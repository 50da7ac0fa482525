"""Python that a model brings along: whether it can be loaded without it, and who may run it.

Code is run only where a person said so for this very model and this very code: what is remembered
is a digest of the files, so that code which changed is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.models.folder import read_json
from engine.paths import state_dir
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object

_MAPS = ("config.json", "tokenizer_config.json", "processor_config.json")
_NAMED_CONFIG = re.compile(r"""["']([\w.-]+)["']\s*[,:\]]\s*=?\s*["']\w+Config["']""")
_MODEL_CLASSES = ("AutoConfig", "AutoModel")


def code_files(folder: Path) -> tuple[str, ...]:
    """The Python files that the folder's configurations name (`auto_map`), sorted.

    Code that lies in another repository stands as `owner/name: file.py`.
    """
    found: set[str] = set()
    for name in _MAPS:
        file = folder / name
        if file.is_file():
            found.update(_mapped(read_json(file).get("auto_map")))
    return tuple(sorted(found))


def needs_own_code(config: Mapping[str, Any]) -> bool:
    """Whether a model of this config.json can be built by its own code only: it brings some, and
    the installed transformers does not know its `model_type`."""
    mapped = config.get("auto_map")
    if not isinstance(mapped, dict):
        return False
    if not any(key.startswith(_MODEL_CLASSES) for key in mapped):
        return False
    return str(config.get("model_type", "")) not in known_model_types()


@lru_cache(maxsize=1)
def known_model_types() -> frozenset[str]:
    """What transformers can build itself, read from its mapping as text: importing it takes a
    second, and look-ups have none to spare."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    auto = Path(spec.origin).parent / "models" / "auto"
    found: set[str] = set()
    for name in ("auto_mappings.py", "configuration_auto.py"):
        file = auto / name
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            found.update(
                re.findall(r"""["']([\w.-]+)["']\s*[,:\]]\s*=?\s*["']\w+Config["']""", text)
            )
    return frozenset(found)


def check_own_code(folder: Path, name: str, trusted: bool) -> None:
    """Raise `BadInput`, naming the model and the files, where its own code is needed and not
    trusted. No file of it is run or imported here."""
    if trusted or not (folder / "config.json").is_file():
        return
    if not needs_own_code(read_json(folder / "config.json")):
        return
    raise BadInput(code_problem(name, code_files(folder), str(folder)))


def code_problem(name: str, files: Iterable[str], where: str) -> Problem:
    """What is said of a model whose code nobody has agreed to."""
    return Problem(
        f"{name} brings its own Python code, which would run on this machine: {', '.join(files)}.",
        where,
        "Read it; if you trust it, set trust_remote_code for this model.",
        "trust_remote_code",
    )


def code_digest(folder: Path) -> str:
    """A digest of the code's names and bytes; empty where the folder brings none, or names code in
    another repository, which may change unseen: that is asked for every time."""
    names = code_files(folder)
    if not names or any(": " in name for name in names):
        return ""
    digest = hashlib.sha256("\0".join(names).encode())
    # Named files import others: every Python file of the folder counts.
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"\0{file.relative_to(folder)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_trusted(name: str, folder: Path) -> bool:
    """Whether a person agreed to run this very code of this model."""
    digest = code_digest(folder)
    return bool(digest) and digest in _agreed().get(name, ())


def trust(name: str, folder: Path) -> None:
    """Remember that a person agreed to the code that lies in `folder` now."""
    agreed = _agreed()
    agreed[name] = [*{*agreed.get(name, ()), code_digest(folder)} - {""}]
    write_atomic(_memory(), json.dumps(agreed, ensure_ascii=False, indent=1))


def _agreed() -> dict[str, list[str]]:
    record = read_object(_memory())
    return {name: rows for name, rows in record.items() if isinstance(rows, list)}


def _memory() -> Path:
    return state_dir() / "trusted_code.json"


def _mapped(mapped: Any) -> Iterable[str]:
    if not isinstance(mapped, dict):
        return
    for value in mapped.values():
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, str) and "." in reference:
                place, _sign, module = reference.rpartition("--")
                file = module.rsplit(".", 1)[0].replace(".", "/") + ".py"
                yield f"{place}: {file}" if place else file
