"""The training monitor: the loss, what else is watched, the machine, the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from tui.engine_text import engine_text
from tui.language import _, listed
from tui.panes.measure_charts import ChartView, MeasureCharts
from tui.widgets.frame import Line
from tui.widgets.gauge import GaugeRow, Machine, Watched, WatchRow
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.log_lines import LogLine, LogPanel
from tui.widgets.numbers import loss, memory, memory_of, rate, size, thousands

if TYPE_CHECKING:
    from engine.runs.measures import Picture
    from engine.telemetry import Reading
    from tui.live import LiveRun
    from tui.studio import Studio

NEAR_LIMIT = 0.92
# Drawing the curves takes at most this share of a core while a run computes on all of them.
_DRAWING_SHARE = 0.004


class TrainView(ChartView):
    """Watches `studio.live`. Before the first run it says what `t` will do."""

    DEFAULT_CSS = """
    TrainView #curves { height: 1fr; }
    TrainView #watch { height: auto; }
    TrainView Watched { height: 4; }
    TrainView Machine { height: 4; }
    TrainView LogPanel { height: 8; }
    TrainView.narrow Watched, TrainView.narrow Machine { height: 1; }
    TrainView.narrow LogPanel { height: 3; }
    TrainView.wide { layout: horizontal; }
    TrainView.wide #curves { width: 3fr; }
    TrainView.wide #watch { width: 2fr; height: 1fr; }
    TrainView.wide LogPanel { height: 1fr; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-train")
        self.welcome = LinesPanel(_("Welcome"), id="welcome")
        self.charts = MeasureCharts(_no_point())
        self.watched = Watched(_("also watched"))
        self.charts.display = self.watched.display = False  # until a run began
        self.machine = Machine(_("machine"))
        self.log_panel = LogPanel(_("log"), figure=_line_count)
        self._logged = 0
        self._run = ""
        self._cpu: list[float] = []
        self._cpu_time = 0.0
        self._narrow = False
        self._gauges = 0
        # The run whose curves were drawn last, the evaluations it had, and until when a step more
        # draws none of them anew.
        self._drawn: tuple[LiveRun | None, int] = (None, 0)
        self._rest_until = 0.0

    def compose(self) -> ComposeResult:
        with Vertical(id="curves"):
            yield self.welcome
            yield self.charts
        with Vertical(id="watch"):
            yield self.watched
            yield self.machine
            yield self.log_panel

    def entry(self) -> Widget:
        return self.welcome if self.welcome.display else self.charts.first

    def fit(self, narrow: bool, wide: bool) -> None:
        self._narrow = narrow
        self.set_class(narrow, "narrow")
        self.set_class(wide, "wide")
        self.log_panel.border = "rule" if narrow else "box"
        for panel in (self.watched, self.machine):
            panel.border = "none" if narrow else "box"
            panel.can_focus = False
            if narrow:
                # Not the height that its rows asked for on a larger screen.
                panel.styles.height = None
        if narrow:
            self._gauges = 0
        self._rest_until = 0.0

    def relabel(self) -> None:
        self._rest_until = 0.0
        self.welcome.set_title(_("Welcome"))
        self.charts.set_empty(_no_point())
        self.watched.set_title(_("also watched"))
        self.machine.set_title(_("machine"))
        self.log_panel.set_title(_("log"))

    def show(self) -> None:
        live = self.studio.live
        began = live is not None
        if began and self.welcome.has_focus:
            self.charts.first.focus()
        self.welcome.display = not began
        self.charts.display = began
        self.watched.display = began
        if live is None:
            self.welcome.set_wrapped(self._first_words())
        else:
            self._show_curves(live)
        self._show_machine()
        self._show_log(live)

    def _show_curves(self, live: LiveRun) -> None:
        """The curves and what is watched beside them; those of a run under way not at every step
        where the steps come faster than the machine draws."""
        now = time.monotonic()
        drawn = (live, len(live.eval_steps))
        if drawn == self._drawn and not live.ended and now < self._rest_until:
            return
        begun = time.thread_time()
        pictures = live.pictures()
        self.charts.set_pictures(pictures, live.total_steps or None)
        self._show_watched(live, pictures)
        self._drawn = drawn
        self._rest_until = now + (time.thread_time() - begun) / _DRAWING_SHARE

    def _show_watched(self, live: LiveRun, pictures: Sequence[Picture]) -> None:
        share = len(live.steps) and live.step / live.total_steps if live.total_steps else None
        rows = [
            WatchRow(
                _("learning rate"), _last(live.rates, rate), tuple(live.rates), share, _("rate")
            ),
            WatchRow(
                _("gradient norm"),
                _last(live.norms, loss),
                tuple(live.norms),
                share,
                _("grad norm"),
            ),
        ]
        speed = f"{thousands(live.throughput)} tok/s"
        if self._narrow:
            rows.append(WatchRow("", speed, tuple(live.speeds), share))
        else:
            rows.append(WatchRow(_("tokens a second"), speed[:-6], tuple(live.speeds), share))
        rows += self._other_rows(live, pictures, share)
        if not self._narrow:
            rows = rows[: max(2, self.size.height // 6)]
            self.watched.styles.height = len(rows) + 2
        self.watched.update(rows)

    def _other_rows(
        self, live: LiveRun, pictures: Sequence[Picture], share: float | None
    ) -> list[WatchRow]:
        """What its stage is watched by first (by its short name), then what else was logged."""
        from engine.runs.measures import named_in

        rows = []
        for picture in pictures:
            measure, (_steps, values) = picture.measure, picture.points
            if measure.key != "loss" and measure.curves is None and values:
                told = WatchRow(_(measure.label), loss(values[-1]), tuple(values), share)
                rows.append(told)
        known = named_in(pictures)
        for name, (_steps, values) in live.watched.items():
            if name not in known and values:
                label = name.replace("_", " ")
                rows.append(WatchRow(label, loss(values[-1]), tuple(values), share))
        return rows

    def _show_machine(self) -> None:
        reading = self.studio.reading
        if reading is None:
            return
        rows = self._gauge_rows(reading)
        self.machine.update(rows)
        if not self._narrow and len(rows) != self._gauges:
            self._gauges = len(rows)
            self.machine.styles.height = len(rows) + 2

    def _gauge_rows(self, reading: Reading) -> list[GaugeRow]:
        rows = []
        for gpu in reading.gpus:
            share = gpu.used / gpu.total if gpu.used is not None and gpu.total else None
            texts = [memory_of(gpu.used, gpu.total), _of(gpu.power, gpu.power_limit, "W")]
            texts.append(f"{gpu.temperature:.0f} °C" if gpu.temperature is not None else "–")
            rows.append(
                GaugeRow(
                    f"GPU {gpu.index}",
                    None if gpu.percent is None else gpu.percent / 100,
                    tuple(texts),
                    near_limit=share is not None and share > NEAR_LIMIT,
                )
            )
        busy = None if reading.cpu.percent is None else reading.cpu.percent / 100
        if reading.time != self._cpu_time:
            self._cpu_time = reading.time
            self._cpu = [*self._cpu[-120:], math.nan if busy is None else busy]
        cores = reading.cpu.cores
        cpu_short = "CPU –" if busy is None else f"CPU {busy * 100:.0f} %"
        words = f"{cores} {_('cores')}" if cores != 1 else _("1 core")
        rows.append(GaugeRow("CPU", busy, (words,), spark=tuple(self._cpu[-24:]), short=cpu_short))
        used, total = reading.ram.used, reading.ram.total
        share = used / total if used is not None and total else None
        rows.append(
            GaugeRow(
                "RAM",
                share,
                (memory_of(used, total), f"{_('disk')} {size(reading.disk_free)} {_('free')}"),
                near_limit=share is not None and share > NEAR_LIMIT,
                short=f"RAM {memory_of(used, total)}" if total else "RAM –",
            )
        )
        return rows

    def _show_log(self, live: LiveRun | None) -> None:
        run = live.run if live is not None else ""
        if run != self._run:
            self._run, self._logged = run, 0
            self.log_panel.set_lines([])
        if live is not None and live.log_count > self._logged:
            new = live.log_count - self._logged
            lines = list(live.log)[-new:]
            self._logged = live.log_count
            self.log_panel.add(LogLine(_clock(when), level, text) for when, level, text in lines)
        if live is None:
            notes = self.studio.notes
            if len(notes) != self._logged:
                self._logged = len(notes)
                self.log_panel.set_lines(LogLine("", "info", engine_text(note)) for note in notes)

    def _first_words(self) -> list[Line]:
        """Three lines: what is ready to run, what this machine has, which key starts it."""
        studio = self.studio
        config = studio.config
        sets = listed(studio.chosen) or "–"
        model = studio.model_name
        lines: list[Line] = [
            [],
            [(_("Ready to train"), "dim"), (f"  {model} ", "accent"), (_("on"), "dim"),
             (f" {sets}", "accent"), (f"  ({config.stage}, {config.finetuning_type})", "dim")],
            [(_("This machine has"), "dim"), (f"  {self._has()}", "text")],
            [],
            [(_("Press"), "dim"), (" t ", "accent bold"), (_("to train."), "text")],
            [],
            [(_("Then c talks to the result, e scores it, x exports it; 1-4 change what runs."),
              "dim")],
        ]  # fmt: skip
        # Which models are here is not known in the first frame.
        if studio.models and config.model_name_or_path == "demo" and not studio.demo_ready:
            lines.insert(
                3,
                [(_("The demo model (93 MB) is fetched once, when the first run starts."), "dim")],
            )
        return lines

    def _has(self) -> str:
        reading = self.studio.reading
        if reading is None:
            return "…"
        parts = [f"{gpu.name} {memory(gpu.total)} GB" for gpu in reading.gpus] or [_("no GPU")]
        parts.append(f"{reading.cpu.cores} {_('CPU cores')}")
        if reading.ram.total:
            parts.append(f"{memory(reading.ram.total)} GB {_('memory')}")
        parts.append(f"{size(reading.disk_free)} {_('disk free')}")
        return " · ".join(parts)

    def idle(self) -> frozenset[str]:
        live = self.studio.live
        return self.charts_idle(bool(live and live.completions))

    def read_completions(self) -> None:
        from tui.dialogs.completions import CompletionsCard, no_completions

        live = self.studio.live
        if live is None or not live.completions:
            self.app.notify(no_completions())
            return
        self.app.push_screen(CompletionsCard(lambda: tuple(live.completions)))


def _line_count(count: int) -> str:
    if not count:
        return ""
    return _("1 line") if count == 1 else f"{thousands(count)} {_('lines')}"


def _last(values: list[float], write: Callable[[float], str]) -> str:
    return write(values[-1]) if values else "–"


def _of(part: float | None, whole: float | None, unit: str) -> str:
    if part is None:
        return "–"
    return f"{part:.0f}/{whole:.0f} {unit}" if whole else f"{part:.0f} {unit}"


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def _no_point() -> str:
    return _("No point yet: the curve begins with the first step.")
