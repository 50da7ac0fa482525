"""Training, stopping, leaving, failures: over a real engine whose jobs wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.events import JobFailed, LogLine, StateChanged, StepLogged
from engine.problem import BadInput, Problem
from engine.worker import Engine, TrainJob

FOREIGN = "row [/b] holds \x1b[31m and \u202e"


class Waiting:
    """Does training jobs by waiting until it is told to end, to fail, or the job is stopped."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.fault: Exception | None = None
        self.began: list[Any] = []

    def __call__(self, job: Any, session: Any, kept: Any) -> dict[str, Any]:
        self.began.append(job)
        session.state("training")
        session.publish(StepLogged(step=1, total_steps=60, loss=2.5, learning_rate=1e-4, epoch=0.1))
        while not self.end.wait(0.01):
            session.check()
        if self.fault is not None:
            raise self.fault
        return {"output_dir": "saves/there"}


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    work = Waiting()
    yield work
    work.end.set()


def engine_with(work: Waiting) -> Engine:
    engine = Engine({TrainJob: work})
    engine.start()
    return engine


async def test_t_trains_what_the_left_side_says(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        assert "Press t to train." in shown.text
        await shown.press("3", "t")
        await shown.until(lambda: shown.studio.live is not None and shown.studio.live.steps == [1])
        assert shown.places == ["train"]
        assert "● training" in shown.lines[0] and "1/60" in shown.lines[0]
        assert waiting.began[0].config.dataset == "identity"
        assert waiting.began[0].config.do_train
        assert "Press t to train." not in shown.text
        assert shown.key_line.startswith(" s stop  space pause")
        waiting.end.set()
        await shown.until(lambda: shown.studio.live.ended)
        assert "✓ done" in shown.lines[0]


async def test_t_asks_once_where_something_runs(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        await shown.press("t")
        assert shown.dialogs == 1 and "Something is running already" in shown.text
        await shown.press("escape")
        assert len(shown.engine.queue) == 0
        await shown.press("t", "t")
        assert shown.dialogs == 0 and len(shown.engine.queue) == 1


async def test_s_stops_and_a_second_s_asks_to_leave_without_saving(open_screen, waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("s")
        assert "Nothing is running." in shown.text
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        stops: list[bool] = []
        real = shown.engine.stop

        def stop(run: str, save: bool = True) -> None:
            stops.append(save)
            if not save:
                real(run, save)

        shown.engine.stop = stop  # the job goes on until it is stopped without saving
        await shown.press("s")
        assert stops == [True] and shown.dialogs == 0
        await shown.press("s")
        assert shown.dialogs == 1 and "Stop without saving?" in shown.text
        await shown.press("escape")
        assert stops == [True]
        # A key that was there before the question was is no answer to it.
        await shown.press_at_once("s", "s", "s")
        assert stops == [True] and shown.dialogs == 1
        await shown.press("s")
        assert stops == [True, False]
        await shown.until(lambda: shown.studio.live.ended)
        assert "■ stopped" in shown.lines[0]


@pytest.mark.parametrize("fault", [None, BadInput(Problem("The row is bad."))])
async def test_what_is_asked_about_a_run_goes_with_it(open_screen, waiting: Waiting, fault) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        await shown.press("q")
        assert shown.dialogs == 1 and "A job is running" in shown.text
        waiting.fault = fault
        waiting.end.set()
        await shown.until(lambda: shown.studio.live.ended and "A job is running" not in shown.text)
        assert shown.dialogs == (0 if fault is None else 1)


async def test_space_pauses_and_goes_on(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: bool(shown.studio.live and shown.studio.live.steps))
        for panel in ("m", "4", "1"):
            # Also where a list has the focus: space marks nothing there.
            await shown.press(panel, "space")
            await shown.until(lambda: shown.studio.live.state == "paused")
            assert "paused" in shown.lines[0]
            await shown.press("space")
            await shown.until(lambda: shown.studio.live.state == "training")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_leaving_asks_while_a_job_runs(open_screen, waiting: Waiting, key: str) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        await shown.press(key)
        assert shown.dialogs == 1 and "A job is running" in shown.text
        await shown.press("escape")
        assert shown.app.is_running and not shown.studio.live.ended
        await shown.pilot.press(key)
        await shown.pilot.pause()
        await shown.pilot.press("q")
        for _turn in range(200):
            if not shown.app.is_running:
                break
            await asyncio.sleep(0.05)
        assert not shown.app.is_running and shown.app.return_code == 0
        assert shown.engine.current is None


async def test_leaving_asks_nothing_where_nothing_runs(open_screen) -> None:
    async with open_screen() as shown:
        await shown.pilot.press("q")
        for _turn in range(100):
            if not shown.app.is_running:
                break
            await asyncio.sleep(0.05)
        assert not shown.app.is_running and shown.app.return_code == 0


async def test_ctrl_c_leaves_from_the_message_line_too(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("c")
        await shown.type("half a message")
        await shown.pilot.press("ctrl+c")
        for _turn in range(100):
            if not shown.app.is_running:
                break
            await asyncio.sleep(0.05)
        assert not shown.app.is_running


async def test_sleeping_is_asked_while_a_job_runs(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        await shown.press("ctrl+z")
        assert "The training sleeps too" in shown.text
        await shown.press("escape")
        assert shown.dialogs == 0


async def failed_run(shown, waiting: Waiting, problem: Problem) -> None:
    waiting.fault = BadInput(problem)
    waiting.end.set()
    await shown.press("t")
    await shown.until(lambda: shown.dialogs == 1)


async def test_a_failure_stays_until_it_is_dismissed(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        problem = Problem("The disk is full.", where="saves/x", hint="Free some space.")
        await failed_run(shown, waiting, problem)
        assert "✗ failed" in shown.lines[0]
        for words in ("The disk is full.", "saves/x", "Free some space.", "l  log", "r  try again"):
            assert words in shown.text
        await shown.pilot.pause(1.2)
        assert shown.dialogs == 1
        await shown.press("escape")
        assert shown.dialogs == 0 and "✗ failed" in shown.lines[0]


async def test_the_keys_of_a_failure(open_screen, waiting: Waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        shown.studio.inbox.append(
            JobFailed(run="r", time=1.0, what="It broke.", details="Traceback\nValueError: why")
        )
        shown.app.take_in()
        await shown.settle()
        await shown.press("d")
        assert "ValueError: why" in shown.text
        await shown.press("escape")
        assert shown.dialogs == 1 and "It broke." in shown.text
        await shown.press("l")
        assert "finetui.log" in shown.text
        await shown.press("escape")
        assert shown.dialogs == 0
        await shown.press("f4")
        assert "ValueError: why" in shown.text
        await shown.press("escape")
        await failed_run(shown, waiting, Problem("No."))
        waiting.fault = None
        runs = len(waiting.began)
        await shown.press("r")
        await shown.until(lambda: len(waiting.began) == runs + 1)


async def test_foreign_text_in_a_failure_a_log_and_a_toast_is_text(open_screen, waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await failed_run(shown, waiting, Problem(FOREIGN, where=FOREIGN, hint=FOREIGN))
        assert shown.text.count("row [/b] holds ␛[31m and ⟨U+202E⟩") >= 3
        await shown.press("escape")
        run = shown.studio.live.run
        shown.studio.inbox.append(LogLine(run=run, time=time.time(), text=FOREIGN))
        shown.app.take_in()
        shown.app.notify(FOREIGN)
        await shown.pilot.pause(0.2)
        await shown.settle()
        assert shown.text.count("[/b] holds ␛[31m") >= 2
        assert "\x1b" not in shown.text and "\u202e" not in shown.text
        assert not shown.app._told


async def test_a_fault_of_a_look_up_leaves_the_screen_alive(open_screen) -> None:
    async with open_screen() as shown:

        def broken() -> None:
            raise ZeroDivisionError("a fault of our own [/b]")

        def full() -> None:
            raise OSError(28, "No space left on device")

        shown.studio._answer(broken, print)
        shown.studio._answer(full, print)
        await shown.settle()
        await shown.pilot.pause(0.2)
        assert "a fault of our own [/b]" in shown.text
        assert any("No space left" in note for note in shown.studio.notes)
        await shown.press("2", "enter", "3", "e")
        assert shown.places == ["evaluate"]


async def test_notes_that_come_while_a_run_has_the_log_are_told(open_screen, waiting) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        shown.studio.notes.append("said before any run")
        shown.app.tick()
        await shown.settle()
        assert "said before any run" in shown.text
        await shown.press("t")
        await shown.until(lambda: bool(waiting.began))
        shown.studio.notes.append("the form could not be remembered")
        shown.app.tick()
        await shown.pilot.pause(0.2)
        assert "the form could not be remembered" in shown.text


async def test_states_reach_the_top_line(open_screen) -> None:
    async with open_screen() as shown:
        run = shown.studio.submit(TrainJob(shown.studio.config), "train").run
        for state, sign in (("done", "✓ done"), ("stopped", "■ stopped"), ("failed", "✗ failed")):
            shown.studio.inbox.append(StateChanged(run=run, time=1.0, state=state))
            shown.app.take_in()
            assert sign in shown.app.query_one("#top").picture_lines()[0]  # type: ignore[attr-defined]


async def test_an_answer_waits_for_the_run_and_says_so_without_drawing_for_it(
    open_screen, waiting: Waiting
) -> None:
    async with open_screen(engine=engine_with(waiting)) as shown:
        await shown.press("t")
        await shown.until(lambda: shown.studio.live is not None and shown.studio.live.steps == [1])
        await shown.press("c")
        await shown.type("hi")
        await shown.press("enter")
        assert "The run holds the device" in shown.text
        # Eight pictures a second are for an answer that grows; the run needs the processor.
        assert not shown.studio.answering
        await shown.press("escape", "n")
        assert not shown.studio.answering and "holds the device" not in shown.text
