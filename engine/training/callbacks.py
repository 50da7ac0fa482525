"""The trainer's voice: what it does becomes events, and lines of `trainer_log.jsonl`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from engine.events import Evaluated, RunDescribed, StepLogged, StepTick
from engine.runs.session import JobSession
from engine.runs.trainer_log import LogPoint, TrainerLog
from engine.training.pace import Pace

# Keys of a log line that have a place of their own.
_KNOWN = {"loss", "grad_norm", "learning_rate", "epoch", "step", "num_input_tokens_seen"}
# What transformers measures of itself; ours leave out validation, saving and pauses.
# TRL's count of tokens starts anew on a resume, and its time of a step holds pauses.
_NOT_WATCHED = ("num_tokens", "step_time")
_SPEED = ("_runtime", "_samples_per_second", "_steps_per_second", "_tokens_per_second")


class RunCallback(TrainerCallback):
    """Publishes steps and evaluations, the log file first; keeps the trainer's bookkeeping.

    `description` is published once the number of steps is known. `begun` is called when everything
    is loaded, a checkpoint to go on from included, before the first step.
    """

    def __init__(
        self,
        session: JobSession,
        log: TrainerLog,
        pace: Pace,
        description: dict[str, Any],
        begun: Callable[[], None],
    ) -> None:
        self._session = session
        self._log = log
        self._pace = pace
        self._description = description
        self._begun = begun
        self.trainer: Any = None  # set once the trainer stands; it is built with its callbacks

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._session.publish(
            RunDescribed(
                **self._description,
                total_steps=state.max_steps,
                epochs=state.max_steps / max(1, self.trainer.steps_per_epoch),
            )
        )
        self._begun()
        resume = self.trainer.resume
        self._pace.begin()
        if resume is not None:
            self.trainer.restore_sums(resume)
            if resume.evaluation_pending:
                self.trainer.make_up_evaluation()
        self._session.state("training")

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.begin_epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.begin_step()
        self._pace.step_began()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pace.step_ended(self.trainer.end_step())
        if control.should_log:
            return  # on_log says more
        self._session.publish(
            StepTick(
                step=state.global_step,
                total_steps=state.max_steps,
                epoch=state.epoch,
                throughput=self._pace.throughput,
                remaining=self._pace.remaining(state.global_step, state.max_steps),
            )
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self._step_logged(state, logs)
        elif "eval_loss" in logs:
            self._evaluated(args, state, logs)

    def _step_logged(self, state: Any, logs: dict[str, Any]) -> None:
        pace = self._pace
        step, total = state.global_step, state.max_steps
        watched = {
            name: float(value)
            for name, value in logs.items()
            if name not in _KNOWN and isinstance(value, (int, float))
        }
        watched = {
            name: value
            for name, value in watched.items()
            if not name.endswith(_SPEED) and name not in _NOT_WATCHED
        }
        norm = logs.get("grad_norm")
        event = StepLogged(
            step=step,
            total_steps=total,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            epoch=logs["epoch"],
            grad_norm=None if norm is None else float(norm),
            throughput=pace.throughput,
            tokens=state.num_input_tokens_seen,
            elapsed=pace.elapsed,
            remaining=pace.remaining(step, total),
            watched=watched,
        )
        pace.logged()
        self._log.append(
            LogPoint(
                step=step,
                total_steps=total,
                loss=event.loss,
                lr=event.learning_rate,
                grad_norm=event.grad_norm,
                epoch=event.epoch,
                elapsed=event.elapsed,
                remaining=event.remaining,
                throughput=event.throughput,
                total_tokens=event.tokens,
                watched=watched,
            )
        )
        self._session.publish(event)

    def _evaluated(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        metrics = {
            name.removeprefix("eval_"): float(value)
            for name, value in logs.items()
            if name.startswith("eval_")
            and not name.endswith((*_SPEED, *_NOT_WATCHED))
            and isinstance(value, (int, float))
        }
        loss = metrics.pop("loss")
        self._log.append(
            LogPoint(
                step=state.global_step,
                total_steps=state.max_steps,
                eval_loss=loss,
                watched={f"eval_{name}": value for name, value in metrics.items()},
                epoch=logs.get("epoch"),
                elapsed=self._pace.elapsed,
            )
        )
        self._session.publish(
            Evaluated(
                step=state.global_step,
                loss=loss,
                metrics=metrics,
                best=_is_best(args, state, {"loss": loss, **metrics}),
            )
        )


def _is_best(args: Any, state: Any, metrics: dict[str, float]) -> bool:
    """Whether these metrics beat the best so far (the trainer notes that only afterwards)."""
    name = (args.metric_for_best_model or "loss").removeprefix("eval_")
    value = metrics.get(name)
    if value is None:
        return False
    if state.best_metric is None:
        return True
    best = float(state.best_metric)
    return value > best if args.greater_is_better else value < best
