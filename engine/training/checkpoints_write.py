"""Writing checkpoints that are complete or absent, and letting old ones go.

A checkpoint is written into a hidden folder beside its place, every file is flushed to the disk,
the completion mark is written last, and then the folder gets its name. An old checkpoint loses its
name before it loses its files. So a process that is killed at any moment leaves only checkpoints
that can be resumed from, and hidden folders that the next run sweeps away.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.events import CheckpointSaved
from engine.models.adapter_start import start_of
from engine.problem import JobFault
from engine.runs.atomic import settle, sync_folder, write_atomic
from engine.runs.checkpoints import COMPLETE_MARK, list_checkpoints, read_mark
from engine.runs.session import JobSession
from engine.training.guards import check_room, is_disk_full, refused_write
from engine.training.rng import random_state

_PARTIAL = ".partial"
_GOING = ".removing"
_MARGIN = 16 << 20  # tokenizer, logs and curves want room too


class CheckpointWriter:
    """Writes the checkpoints of one run.

    `keep` is `save_total_limit`: so many are kept, the newest ones, plus the best one; None keeps
    all. `threads` is the number of CPU threads that sums are made with (kept on resume).
    `elapsed` tells the seconds of training so far, earlier sittings included. `resumed` is the
    checkpoint that the run goes on from: those behind it in this folder belong to a course that
    was given up. They are written anew when the run comes to them, and are the first to go.
    """

    def __init__(
        self,
        run: Path,
        session: JobSession,
        *,
        keep: int | None,
        threads: int,
        elapsed: Callable[[], float],
        resumed: Path | None = None,
    ) -> None:
        self.run = run
        self._session = session
        self._keep = keep
        self._threads = threads
        self._elapsed = elapsed
        begun = (read_mark(resumed) if resumed is not None else None) or {}
        self._saved = float(begun.get("saved", 0.0))
        here = resumed is not None and resumed.parent.resolve() == run.resolve()
        self._begin = int(begun.get("step", 0)) if here else 0
        self._written: set[int] = set()
        self.last_step = self._begin  # of the newest checkpoint that is complete

    def write(self, trainer: Any, *, with_optimiser: bool, stopped: bool = False) -> Path:
        """Write `checkpoint-N` for the trainer's last whole step; returns its folder.

        Raises JobFault when the disk is full; nothing of the checkpoint is left then, and
        earlier ones stand.
        """
        step = trainer.state.global_step
        final = self.run / f"checkpoint-{step}"
        there = read_mark(final) if self._is_own(step) else None
        if there is not None and (there.get("resumable") or not with_optimiser):
            self._note_pending(final, there, trainer)
            self.last_step = step
            return final
        began = time.monotonic()
        self._session.state("saving", f"checkpoint {step}")
        partial = self.run / f".checkpoint-{step}{_PARTIAL}"
        needed = expected_size(trainer, with_optimiser) + _MARGIN
        check_room(self.run, needed)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            self._fill(trainer, partial, final, with_optimiser)
            size = self._mark(trainer, partial, with_optimiser)
            if final.exists():
                _let_go(final)  # incomplete, of another course, or weights only
            os.rename(partial, final)
            sync_folder(self.run)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if is_disk_full(error):
                raise refused_write(self.run, needed) from error
            raise
        self.last_step = step
        self._written.add(step)
        self._session.publish(
            CheckpointSaved(step=step, path=str(final), size=size, seconds=time.monotonic() - began)
        )
        self._rotate(best=trainer.state.best_global_step)
        if not stopped:
            self._session.state("training")
        return final

    def _fill(self, trainer: Any, partial: Path, final: Path, with_optimiser: bool) -> None:
        import torch

        trainer.save_model(str(partial), _internal_call=True)
        (partial / "README.md").unlink(missing_ok=True)  # peft's empty model card
        if with_optimiser:
            trainer.save_state_to(partial)
            torch.save(trainer.next_step_random or random_state(), partial / "rng_state.pth")
        state = trainer.state
        best = state.best_global_step
        if best:
            path = self.run / f"checkpoint-{best}"
            if path == final or path.is_dir():
                state.best_model_checkpoint = str(path)
        trainer.store_flos()
        trainer.collect_callback_states()
        state.save_to_json(str(partial / "trainer_state.json"))

    def _mark(self, trainer: Any, partial: Path, with_optimiser: bool) -> int:
        files = {}
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                settle(file)
                files[str(file.relative_to(partial))] = file.stat().st_size
        state = trainer.state
        # Never before the one it goes on from, whatever another machine's clock says.
        self._saved = max(time.time(), self._saved + 0.001)
        mark = {
            "step": state.global_step,
            "saved": self._saved,
            "files": files,
            "resumable": with_optimiser,
            "loss": _last(state.log_history, "loss"),
            "eval_loss": _at(state.log_history, "eval_loss", state.global_step),
            "best_step": state.best_global_step,
            "elapsed": self._elapsed(),
            "threads": self._threads,
            "evaluation_pending": trainer.evaluation_pending,
            **trainer.running_sums(),
        }
        write_atomic(partial / COMPLETE_MARK, json.dumps(mark, indent=1, sort_keys=True))
        return sum(files.values())

    def _note_pending(self, final: Path, mark: dict[str, Any], trainer: Any) -> None:
        """A stop in the validation that follows a checkpoint: the resume makes up for it."""
        if trainer.evaluation_pending and not mark.get("evaluation_pending"):
            mark = mark | {"evaluation_pending": True}
            write_atomic(final / COMPLETE_MARK, json.dumps(mark, indent=1, sort_keys=True))

    def _is_own(self, step: int) -> bool:
        """Whether a checkpoint lies on the course of this run."""
        return step in self._written or step <= self._begin

    def _rotate(self, best: int | None) -> None:
        if not self._keep or self._keep < 1:
            return
        complete = [c for c in list_checkpoints(self.run) if c.complete]
        complete.sort(key=lambda c: (self._is_own(c.step), c.step))
        for old in complete[: -self._keep]:
            if old.step != best:
                _let_go(old.path)


def expected_size(trainer: Any, with_optimiser: bool) -> int:
    """Bytes a checkpoint of `trainer` will take: the saved weights and two moments for each
    trained one (AdamW's; optimisers that keep less take less)."""
    from peft import PeftModel

    parameters = list(trainer.model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    saved = trained if isinstance(trainer.model, PeftModel) else parameters
    start = start_of(trainer.model)
    if start is not None:  # an adapter's first values lie beside it
        saved = [*saved, *(half for pair in start.halves.values() for half in pair)]
    size = sum(p.numel() * p.element_size() for p in saved)
    if with_optimiser:
        size += 2 * sum(p.numel() * p.element_size() for p in trained)
    return size


def sweep(run: Path) -> None:
    """Remove what a killed process left half written or half removed."""
    for left in [*run.glob(f".*{_PARTIAL}"), *run.glob(f".*{_GOING}")]:
        shutil.rmtree(left, ignore_errors=True)


def write_model(trainer: Any, run: Path) -> list[str]:
    """Write the final weights and tokenizer into the run folder; returns the file names.

    Written into a hidden folder first, then moved file by file, weights before their
    configuration: a run folder never holds half a file. Raises JobFault on a full disk.
    """
    needed = expected_size(trainer, with_optimiser=False) + _MARGIN
    check_room(run, needed)
    partial = run / f".final{_PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        trainer.save_model(str(partial), _internal_call=True)
        (partial / "README.md").unlink(missing_ok=True)
        names = sorted(
            (p.name for p in partial.iterdir()), key=lambda n: ("safetensors" not in n, n)
        )
        for name in names:
            if (partial / name).is_dir():
                shutil.rmtree(run / name, ignore_errors=True)
            else:
                settle(partial / name)
            os.replace(partial / name, run / name)
        sync_folder(run)
    except BaseException as error:
        if is_disk_full(error) and not isinstance(error, JobFault):
            raise refused_write(run, needed) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return names


def state_json(state: Any) -> str:
    """`trainer_state.json` as transformers writes it."""
    return json.dumps(asdict(state), indent=2, sort_keys=True) + "\n"


def _let_go(checkpoint: Path) -> None:
    going = checkpoint.with_name(f".{checkpoint.name}{_GOING}")
    shutil.rmtree(going, ignore_errors=True)
    os.rename(checkpoint, going)
    shutil.rmtree(going, ignore_errors=True)


def _last(history: list[dict[str, Any]], key: str) -> float | None:
    return next((line[key] for line in reversed(history) if key in line), None)


def _at(history: list[dict[str, Any]], key: str, step: int) -> float | None:
    return next(
        (line[key] for line in reversed(history) if key in line and line["step"] == step), None
    )
