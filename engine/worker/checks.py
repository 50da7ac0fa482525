"""A set checked in the background, on a thread of its own: neither rows nor a run wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.config import RunConfig
from engine.problem import BadInput, FinetuiError, Stopped

if TYPE_CHECKING:
    from engine.datasets import DataCheck, Encoder, RowIndex
    from engine.datasets.checks import Alike, Finding

    __all__ = ["Alike", "DataCheck", "Finding"]

# Signatures of rows take half a kilobyte each, and people read about the first ones.
NEAR_ROWS = 200_000


@dataclass(frozen=True)
class CheckState:
    """How far a check is. `found` is the quick part, there before `alike` (nearly equal rows) and
    `leaks` (validation rows that are trained on); `done` of `total` rows belong to `activity`.

    `finished` tells that nothing more comes; `problem` why the set can't be checked, `note` why
    nothing of it was tokenised.
    """

    dataset: str
    activity: str = ""
    done: int = 0
    total: int = 0
    found: DataCheck | None = None
    alike: tuple[Alike, ...] | None = None
    leaks: tuple[Alike, ...] | None = None
    problem: str = ""
    note: str = ""
    finished: bool = False


class CheckRun:
    """One check. `state` may be read from any thread; `told` is called on the check's own thread
    when the quick part is there, and when all is."""

    def __init__(self, name: str, config: RunConfig, told: Callable[[], None]) -> None:
        self.config = config
        self.state = CheckState(name)
        self._told = told
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="finetui-check", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up; what is known so far stays."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except Stopped:
            pass
        except (FinetuiError, OSError) as error:
            self._now(problem=str(error))
        except BaseException as error:
            self._now(problem=f"The check failed: {type(error).__name__}: {error}")
            raise
        finally:
            self._now(finished=True, activity="")
            self._told()

    def _work(self) -> None:
        from engine.datasets import Fill, check_dataset, open_rows
        from engine.datasets.checks import near_duplicates
        from engine.datasets.hub import Access

        config, name = self.config, self.state.dataset
        fill = Fill(config.identity_name, config.identity_author)
        access = Access.of(config, check_stop=self._check_stop, fetch=False)
        rows = open_rows(name, config.dataset_dir, fill, access=access)
        encoder, note = _encoder(config, rows)
        self._now(note=note)
        found = check_dataset(
            rows,
            encoder,
            self._check_stop,
            stage=_stage(config, rows),
            progress=self._progress,
            batch=config.per_device_train_batch_size,
        )
        self._now(found=found)
        self._told()
        alike = near_duplicates(rows, self._progress, self._check_stop, limit=NEAR_ROWS)
        self._now(alike=tuple(alike))
        self._now(leaks=tuple(self._leaks(name)))

    def _leaks(self, name: str) -> Sequence[Alike]:
        """Rows of the run's validation part that are trained on, where the set is one of its."""
        from engine.datasets.checks import run_leaks
        from engine.datasets.preparation import set_names

        config = self.config
        if name not in (*set_names(config.dataset), *set_names(config.eval_dataset)):
            return ()
        try:
            return run_leaks(config, NEAR_ROWS, self._progress, self._check_stop)
        except BadInput:
            return ()  # the run as the form describes it can't begin, and the form says why

    def _now(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def _progress(self, activity: str, done: float, total: float, unit: str) -> None:
        self._now(activity=activity, done=int(done), total=int(total))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped(save=False)


def start_check(name: str, config: RunConfig, told: Callable[[], None]) -> CheckRun:
    """Check a set for the run that the form describes. See `CheckRun`."""
    return CheckRun(name, config, told)


def _stage(config: RunConfig, rows: RowIndex) -> str:
    """The run's stage where the set is for it, else the one that its rows are for."""
    from engine.datasets import fits
    from engine.datasets.checks import stage_for

    return str(config.stage) if fits(rows.info, config.stage) is None else stage_for(rows.info)


def _encoder(config: RunConfig, rows: RowIndex) -> tuple[Encoder | None, str]:
    """The model's encoder; None, and why, where the model is not here yet, and for pictures that it
    does not read: rows are checked without tokens then."""
    from engine import models
    from engine.datasets import Encoder
    from engine.datasets.medium import words

    name = config.model_name_or_path or ""
    if not name or (name == "demo" and not models.demo_ready()):
        return None, "Nothing is tokenised yet: the first run fetches the demo model."
    try:
        encoder = Encoder(models.resolve(name, config).path, config)
    except BadInput as error:
        return None, f"Nothing is tokenised: {error.problem.what}"
    reads = encoder.pictures.placeholders if encoder.pictures is not None else ()
    missing = [kind for kind in rows.info.media if kind not in reads]
    if missing:
        return None, f"Nothing is tokenised: the model doesn't read the rows' {words(missing)}."
    return encoder, ""
