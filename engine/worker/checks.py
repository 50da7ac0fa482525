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
    from engine.datasets.checks import Alike, Finding, SeenRows

    __all__ = ["Alike", "DataCheck", "Finding"]

# Of each set; they take about 270 MB, and two minutes of one core.
NEAR_ROWS = 1_000_000


@dataclass(frozen=True)
class CheckState:
    """How far a check is. `found` is the quick part, there before `alike` (nearly equal rows) and
    `leaks` (validation rows that are trained on); `done` of `total` rows belong to `activity`.

    `limits` say where only the first rows were compared with each other. `finished` tells that
    nothing more comes; `problem` why the set can't be checked, `note` why nothing of it was
    tokenised.
    """

    dataset: str
    activity: str = ""
    done: int = 0
    total: int = 0
    found: DataCheck | None = None
    alike: tuple[Alike, ...] | None = None
    leaks: tuple[Alike, ...] | None = None
    limits: tuple[str, ...] = ()
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
        except FinetuiError as error:
            self._now(problem=str(error))
        except OSError as error:
            name, reason = self.state.dataset, error.strerror or str(error)
            self._now(problem=f"{name} can't be read: {reason}.")
        except BaseException as error:
            self._now(problem=f"The check failed: {type(error).__name__}: {error}")
            raise
        finally:
            self._now(finished=True, activity="")
            self._told()

    def _work(self) -> None:
        from engine.datasets import Fill, check_dataset, open_rows
        from engine.datasets.checks import KeptCheck, SeenRows, near_duplicates, only_first
        from engine.datasets.hub import Access
        from engine.datasets.stage_rows import form_of

        name = self.state.dataset
        fill = Fill.of(self.config)
        access = Access.of(self.config, check_stop=self._check_stop, fetch=False)
        rows = open_rows(name, self.config.dataset_dir, fill, access=access)
        stage = _stage(self.config, rows)
        config = replace(self.config, stage=stage)  # type: ignore[arg-type]
        encoder, note = _encoder(config, rows)
        self._now(note=note)
        batch = config.per_device_train_batch_size
        kept = KeptCheck(config, encoder, rows.info, batch, check_stop=self._check_stop)
        found = kept.find()
        seen: SeenRows | None = None
        if found is None:
            seen = SeenRows(form_of(stage)) if self._alone(name) and kept.possible else None
            found = check_dataset(
                rows,
                encoder,
                self._check_stop,
                stage=stage,
                progress=self._progress,
                batch=batch,
                config=config,
                seen=seen,
            )
            kept.keep(found)
        self._now(found=found)
        self._told()
        if seen is not None and encoder is not None and stage == self.config.stage:
            self._leave_tokens(encoder, seen)
        del seen
        total = len(rows)
        if total > NEAR_ROWS:
            self._limited(only_first(NEAR_ROWS, total, name))
        alike = kept.find_alike(NEAR_ROWS)
        if alike is None:
            alike = near_duplicates(rows, self._progress, self._check_stop, limit=NEAR_ROWS)
            kept.keep_alike(alike, NEAR_ROWS)
        self._now(alike=tuple(alike))
        self._now(leaks=tuple(self._leaks(name)))

    def _alone(self, name: str) -> bool:
        """Whether the run that the form describes trains on this set alone, and keeps its tokens
        in the cache."""
        from engine.datasets.preparation import set_names

        config = self.config
        apart = config.streaming or config.tokenized_path or config.distill_on == "samples"
        return set_names(config.dataset) == [name] and not apart

    def _leave_tokens(self, encoder: Encoder, seen: SeenRows) -> None:
        """Prepare the run that the form describes, so that it finds its tokens in the cache."""
        from engine.datasets.checks import content_of
        from engine.datasets.preparation import prepare
        from engine.datasets.token_cache import LEAST_TOKENS

        found = self.state.found
        if seen.given_up or found is None or found.tokens < LEAST_TOKENS:
            return
        try:
            prepare(
                self.config,
                encoder,
                self._progress,
                self._check_stop,
                over=lambda encode: seen.over(encode, content_of),
            )
        except BadInput:
            return  # the run as the form describes it can't begin, and the form says why

    def _limited(self, said: str) -> None:
        if said not in self.state.limits:
            self._now(limits=(*self.state.limits, said))

    def _leaks(self, name: str) -> Sequence[Alike]:
        """Rows of the run's validation part that are trained on, where the set is one of its."""
        from engine.datasets.checks import run_leaks
        from engine.datasets.preparation import set_names

        config = self.config
        if name not in (*set_names(config.dataset), *set_names(config.eval_dataset)):
            return ()
        try:
            return run_leaks(config, NEAR_ROWS, self._progress, self._check_stop, self._limited)
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
    reads = encoder.media.placeholders if encoder.media is not None else ()
    missing = [kind for kind in rows.info.media if kind not in reads]
    if missing:
        return None, f"Nothing is tokenised: the model doesn't read the rows' {words(missing)}."
    return encoder, ""
