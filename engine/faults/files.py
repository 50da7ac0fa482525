"""Disks that are full, files that are missing, damaged or not what they should be."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from engine.faults.chain import errno_of, first_line, names_of, path_of
from engine.problem import Problem


def disk_full(error: BaseException) -> Problem | None:
    text = str(error)
    writer = "PytorchStreamWriter" in text or "inline_container" in text
    if errno_of(error) not in (errno.ENOSPC, errno.EDQUOT) and not (
        writer and re.search(r"file write failed|unexpected pos", text)
    ):
        return None
    path = path_of(error, ".safetensors", ".pt", ".json", ".jsonl", ".bin")
    full = "quota" if errno_of(error) == errno.EDQUOT else "disk"
    return Problem(
        "The disk is full." if full == "disk" else "The disk quota is used up.",
        where=_with_space(path),
        hint="Free some space, lower save_total_limit or set save_only_model; everything saved "
        "before is whole.",
        setting="save_total_limit",
    )


def _with_space(path: str) -> str:
    folder = Path(path) if path else Path()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free / 1e9
    except OSError:
        return path
    return f"{path or folder.absolute()}, {free:.1f} GB free"


_OS_WORDS = {
    errno.EACCES: ("finetui may not read or write this file.", "Check who owns it."),
    errno.EPERM: ("finetui may not read or write this file.", "Check who owns it."),
    errno.EROFS: ("This disk can only be read.", "Choose an output_dir on another one."),
    errno.EISDIR: ("A file was expected here, and this is a folder.", "Name the file in it."),
    errno.ENOTDIR: ("A folder was expected here, and this is a file.", ""),
    errno.ENAMETOOLONG: ("The file name is too long.", "Choose a shorter output_dir."),
    errno.EMFILE: ("Too many files are open.", "Raise the limit with ulimit -n 4096."),
    errno.EIO: ("The disk reported a read or write error.", "Check the disk (dmesg)."),
    errno.ESTALE: ("The network disk lost this file.", "Mount it again and resume."),
}


def os_error(error: BaseException) -> Problem | None:
    if not isinstance(error, OSError):
        return None
    if isinstance(error, FileNotFoundError):
        return Problem(
            "There is no such file.",
            where=path_of(error) or first_line(error),
            hint="Check the path for a typo.",
        )
    words = _OS_WORDS.get(errno_of(error) or 0)
    return None if words is None else Problem(words[0], where=path_of(error), hint=words[1])


def bad_weights(error: BaseException) -> Problem | None:
    if "SafetensorError" in names_of(error):
        return Problem(
            f"A weights file is damaged or incomplete: {first_line(error)}",
            where=path_of(error, ".safetensors"),
            hint="Copy or download it again, or choose another checkpoint.",
        )
    if "UnpicklingError" in names_of(error):
        return Problem(
            "A weights file holds something other than weights, or is damaged.",
            where=path_of(error, ".bin", ".pt", ".pth"),
            hint="Only files that load without running code are accepted; use safetensors.",
        )
    return None


def wrong_shape(error: BaseException) -> Problem | None:
    text = str(error)
    if "size mismatch for" not in text and "loading state_dict" not in text:
        return None
    match = re.search(
        r"size mismatch for (\S+): .*?shape torch\.Size\(\[([\d, ]*)\]\) from checkpoint.*?"
        r"torch\.Size\(\[([\d, ]*)\]\)",
        text,
        re.DOTALL,
    )
    parts = (
        f" ({match.group(1)}: {match.group(2)} in the file, {match.group(3)} in the model)"
        if match
        else ""
    )
    return Problem(
        f"The adapter or checkpoint does not belong to this model{parts}.",
        hint="Choose the model it was trained on (adapter_config.json names it) and the same rank.",
        setting="adapter_name_or_path",
    )


def bad_text(error: BaseException) -> Problem | None:
    if "JSONDecodeError" in names_of(error):
        line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
        path = path_of(error, ".json", ".jsonl")
        return Problem(
            f"The file is not valid JSON: {getattr(error, 'msg', first_line(error))}.",
            where=f"{path or 'JSON text'}, line {line}, column {column}",
            hint="Mend that line.",
        )
    mark = getattr(error, "problem_mark", None)
    if mark is not None and "YAMLError" in names_of(error):
        return Problem(
            f"The file is not valid YAML: {getattr(error, 'problem', None) or 'syntax error'}.",
            where=f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}",
            hint="Mend that line.",
        )
    if isinstance(error, UnicodeDecodeError):
        return Problem(
            f"The file is not UTF-8 text (byte {error.start}).",
            where=path_of(error, ".json", ".jsonl", ".csv", ".txt", ".yaml", ".yml"),
            hint="Save it as UTF-8.",
        )
    return None
