"""Beside a run: are validation rows among those it trains on? Nobody waits for the answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from engine.problem import FinetuiError, Stopped

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.checks import Alike
    from engine.runs.session import JobSession

_MOST_ROWS = 50_000


class LeakWatch:
    """While entered, compares the run's training and validation rows on a thread of its own, and
    says once what it found. Sets of a hub are not compared, and no more than 50,000 rows a set."""

    def __init__(self, config: RunConfig, session: JobSession, held_out: int) -> None:
        self._config = config
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="finetui-leaks", daemon=True)
        self._wanted = held_out > 0

    def __enter__(self) -> LeakWatch:
        if self._wanted:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._wanted:
            self._thread.join(10)

    def join(self) -> None:
        """Wait for the answer."""
        self._thread.join()

    def _look(self) -> None:
        try:
            found = self._leaks()
            if found and not self._ended.is_set():
                self._session.say(_words(found), "warning")
        except (Stopped, FinetuiError, OSError):
            # The run reads the same rows and writes to the same disk: it says what is wrong.
            return

    def _leaks(self) -> list[Alike]:
        from engine.datasets import find_dataset
        from engine.datasets.checks import run_leaks
        from engine.datasets.preparation import set_names

        names = (*set_names(self._config.dataset), *set_names(self._config.eval_dataset))
        if any(find_dataset(name, self._config.dataset_dir).path is None for name in names):
            return []
        return run_leaks(self._config, _MOST_ROWS, check_stop=self._check_stop)

    def _check_stop(self) -> None:
        if self._ended.is_set():
            raise Stopped(save=False)


def _words(found: list[Alike]) -> str:
    first = found[0]
    rows = "1 validation row is" if len(found) == 1 else f"{len(found):,} validation rows are"
    how = "asks the question of" if first.question else "is like"
    return (
        f"{rows} trained on too, so the validation loss says less: row {first.row:,} of "
        f"{first.dataset} {how} row {first.other:,} of {first.other_dataset}. "
        "finetui datasets check NAME --against OTHER lists them."
    )
