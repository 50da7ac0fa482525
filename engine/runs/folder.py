"""Where a run lives: `saves/<model>/<method>/<stage>-MMDD-HHMM`, never a folder used before."""

from __future__ import annotations

import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.paths import saves_dir
from engine.problem import BadInput, Problem

# What an earlier run leaves in its folder beside its weights; `overwrite_output_dir` replaces it.
_RUN_FILES = (
    "trainer_log.jsonl",
    "events.jsonl",
    "trainer_state.json",
    "train_results.json",
    "eval_results.json",
    "predict_results.json",
    "all_results.json",
    "generated_predictions.jsonl",
    "training_args.yaml",
    "library.log",
)
CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_SET_ASIDE = ".replaced"
_DEMO_LABEL = "SmolLM2-135M-Instruct"


def model_label(name: str) -> str:
    """The short name of a model: of a hub id, a folder, a snapshot in the hub's cache, `demo`."""
    if not name or name == "demo":
        return _DEMO_LABEL
    parts = [part for part in re.split(r"[/\\]+", name) if part not in ("", ".", "..")]
    for part in parts:
        # .../models--org--name/snapshots/<hash>
        if part.startswith("models--"):
            return part.rsplit("--", 1)[-1]
    return parts[-1] if parts else name


def folder_name(text: str) -> str:
    """`text` as one path component: letters and digits of any script, dot, dash, underscore."""
    clean = re.sub(r"[^\w.\-]+", "_", text).strip("._")
    return clean[:100] or "model"


def new_run_folder(
    config: Any, now: datetime | None = None, root: Path | None = None, prefix: str = ""
) -> Path:
    """Create and return a fresh folder for a run of `config` (a RunConfig).

    `saves/<model>/<method>/<stage>-MMDD-HHMM`, with `-2`, `-3`… when that minute is taken;
    `prefix` stands in for the stage (`eval`, `predict`). An existing folder is never reused.
    `output_dir` is not looked at here: see `run_folder`. Raises OSError when it can't be made.
    """
    place = planned_folder(config, now, root, prefix)
    place.parent.mkdir(parents=True, exist_ok=True)
    folder, number = place, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = place.with_name(f"{place.name}-{number}")


def planned_folder(
    config: Any, now: datetime | None = None, root: Path | None = None, prefix: str = ""
) -> Path:
    """The folder that `new_run_folder` would make first; nothing is made."""
    parent = (root or saves_dir()) / folder_name(model_label(config.model_name_or_path or ""))
    stem = f"{prefix or config.stage}-{now or datetime.now():%m%d-%H%M}"
    return parent / str(config.finetuning_type) / stem


def run_folder(config: Any, now: datetime | None = None, prefix: str = "") -> Path:
    """The folder this run writes to: its `output_dir`, the one it resumes, or a fresh one.

    Raises BadInput when `output_dir` holds an earlier run and neither `overwrite_output_dir` nor
    `resume_from_checkpoint` is given.
    """
    resume = config.resume_from_checkpoint if not prefix else None
    if isinstance(resume, str) and resume and not config.output_dir:
        return _existing(resumed_folder(Path(resume)))
    if not config.output_dir:
        if resume is True:
            raise BadInput(
                Problem(
                    "resume_from_checkpoint: true needs to know which run.",
                    hint="Give output_dir, or the path of a checkpoint.",
                    setting="resume_from_checkpoint",
                )
            )
        return new_run_folder(config, now, prefix=prefix)
    folder = Path(config.output_dir).expanduser()
    if folder.is_file():
        raise BadInput(
            Problem("output_dir is a file, not a folder.", where=str(folder), setting="output_dir")
        )
    if not prefix:
        refuse_earlier_run(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise BadInput(
        Problem(
            "There is no such run to resume.", where=str(folder), setting="resume_from_checkpoint"
        )
    )


def refuse_earlier_run(config: Any, folder: Path) -> None:
    """Raise BadInput where training into `folder` would mix two runs without anyone asking."""
    if config.resume_from_checkpoint or config.overwrite_output_dir or not holds_run(folder):
        return
    raise BadInput(
        Problem(
            "The output folder already holds a run.",
            where=str(folder),
            hint="Name another output_dir, leave it out for a fresh folder, set "
            "overwrite_output_dir to replace that run, or resume_from_checkpoint to go on.",
            setting="output_dir",
        )
    )


def resumed_folder(checkpoint: Path) -> Path:
    """The run folder that a checkpoint (or the run folder itself) belongs to."""
    checkpoint = checkpoint.expanduser()
    return checkpoint.parent if CHECKPOINT.match(checkpoint.name) else checkpoint


def holds_run(folder: Path) -> bool:
    """Whether some tool has trained into this folder."""
    if any((folder / name).exists() for name in ("trainer_log.jsonl", "trainer_state.json")):
        return True
    return (folder / "adapter_config.json").exists() or bool(checkpoint_steps(folder))


def checkpoint_steps(folder: Path) -> tuple[int, ...]:
    """The steps of the `checkpoint-N` folders in a run, ascending; complete or not."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted(int(m.group(1)) for name in names if (m := CHECKPOINT.match(name))))


class Replacement:
    """An earlier run set aside while the run that replaces it gets going.

    Until the new run has made its first step the old one can be put back, so that a bad setting
    or a bad row costs nothing (`overwrite_output_dir`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._aside = folder / _SET_ASIDE
        self._open = False

    def set_aside(self) -> None:
        self.put_back()  # of a process that was killed between the two
        names = [n for n in _RUN_FILES if (self.folder / n).exists()]
        names += [f"checkpoint-{step}" for step in checkpoint_steps(self.folder)]
        if not names:
            return
        self._aside.mkdir()
        for name in names:
            (self.folder / name).rename(self._aside / name)
        self._open = True

    def put_back(self) -> None:
        """Restore the earlier run; what the new one wrote under the same names gives way."""
        if not self._aside.is_dir():
            return
        for old in self._aside.iterdir():
            target = self.folder / old.name
            if target.is_dir():
                shutil.rmtree(target)
            old.replace(target)
        self._aside.rmdir()
        self._open = False

    def discard(self) -> None:
        """The new run stands: the earlier one is gone."""
        if self._open:
            # Under another name first: what is half gone must never be put back.
            going = self._aside.with_name(f"{_SET_ASIDE}.removing")
            shutil.rmtree(going, ignore_errors=True)
            self._aside.rename(going)
            shutil.rmtree(going, ignore_errors=True)
            self._open = False
