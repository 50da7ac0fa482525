"""Whether the next run fits into this machine: memory, disk, and the changes that would help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import RunConfig, Steps, steps_of
from engine.paths import saves_dir
from tui.engine_text import engine_text
from tui.known_runs import KnownRuns
from tui.language import _
from tui.remembered import Remembered
from tui.widgets.numbers import memory, size, thousands

if TYPE_CHECKING:
    from engine.telemetry import Reading
    from engine.worker.fitting import Advice, DiskUse, RowFacts
    from engine.worker.questions import Forecast


class Fit(KnownRuns):
    """The part of the studio that knows what the form's run would take."""

    reading: Reading | None = None

    def __init__(self, remembered: Remembered) -> None:
        super().__init__(remembered)
        self.forecast: Forecast | None = None
        self.advice: tuple[Advice, ...] = ()
        self.disk: DiskUse | None = None
        # The facts of the rows, and the settings that they follow from.
        self.row_facts: RowFacts | None = None
        self._rows_of: tuple[object, ...] | None = None

    @property
    def rows(self) -> int | None:
        """Rows that the next run trains on; None where unknown."""
        raise NotImplementedError

    @property
    def unpacked_rows(self) -> int | None:
        """Rows of the chosen sets that the next run trains on, before packing."""
        raise NotImplementedError

    @property
    def steps(self) -> Steps | None:
        """The next run's steps; None where they hang on rows that nobody has counted yet."""
        if self.rows is not None:
            return steps_of(self.rows, self.config)
        known = bool(self.config.datasets) and self.config.max_steps > 0
        return steps_of(1, self.config) if known else None

    def look_at_fit(self) -> None:
        """Forecasts of the form as it stands; the rows are read on the look-up thread."""
        from engine.worker import fitting

        key = fitting.rows_key(self.config)
        if key != self._rows_of:
            self._rows_of, self.row_facts = key, None
            self._answer(
                fitting.row_facts,
                lambda facts: self._take_rows(key, facts),
                self.config,
                key="row facts",
            )
        self._forecast()

    def forget_rows(self) -> None:
        """Read the rows anew at the next look: they could not be read, and now can."""
        self._rows_of = None

    def _take_rows(self, key: tuple[object, ...], facts: RowFacts | None) -> None:
        if key == self._rows_of:
            self.row_facts = facts
            self._forecast()

    def _forecast(self) -> None:
        from engine.worker import fitting

        if self.card is None:
            self.forecast, self.advice, self.disk = None, (), None
            return
        config = self.config
        self.forecast = fitting.forecast(self.card, config, self.row_facts)
        if self.rows is not None:
            folder = Path(config.output_dir).expanduser() if config.output_dir else saves_dir()
            steps = steps_of(self.rows, config).total
            checkpoint = self.forecast.checkpoint
            self.disk = fitting.disk_use(self.card, config, steps, checkpoint, [folder])
        else:
            self.disk = None
        if self.forecast.fits:
            self.advice = ()
            return
        self._answer(
            fitting.advice,
            lambda found: self._take_advice(config, found),
            self.card,
            config,
            self.row_facts,
            key="advice",
        )

    def _take_advice(self, config: RunConfig, found: tuple[Advice, ...]) -> None:
        if config == self.config:
            self.advice = found

    # Words

    def packing_words(self) -> str:
        """1,234 rows packed into 210 (97 % full); empty where nothing is packed or known."""
        facts, rows = self.row_facts, self.rows
        if facts is None or not facts.filled or rows is None:
            return ""
        full = f"{facts.filled:.0%}".replace("%", " %")
        whole = thousands(self.unpacked_rows or rows)
        return f"{whole} {_('rows packed into')} {thousands(rows)} ({full} {_('full')})"

    def memory_words(self) -> str:
        """memory 31.2 of 24 GB: micro-batch 2 × 8 fits (19.0 GB), F6"""
        forecast = self.forecast
        total = self.device_memory()
        if forecast is None or not total:
            return ""
        has = f"{total / 2**30:.0f} GB"
        words = f"{_('memory')} {memory(forecast.total)} {_('of')} {has}"
        if self.advice:
            first = self.advice[0]
            words += f": {engine_text(first.change)} {_('fits')} "
            words += f"({memory(first.forecast.total)}), F6"
        return words

    def disk_words(self) -> str:
        """disk 1.2 GB of 80 GB free; empty where nothing is known."""
        disk = self.disk
        if disk is None:
            return ""
        words = f"{_('disk')} {size(disk.total)}"
        if disk.free is not None:
            words += f" {_('of')} {size(disk.free)} {_('free')}"
        return words

    def device_memory(self) -> int | None:
        """What the device of the form's run has in all."""
        if self.forecast is not None and self.forecast.limit:
            return self.forecast.limit
        reading: Any = self.reading
        return reading.ram.total if reading is not None else None
