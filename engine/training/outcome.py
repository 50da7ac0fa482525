"""What a run leaves at its end: its numbers, weights, curves and card, or its stopped state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.runs.atomic import write_atomic
from engine.runs.results import ALL_RESULTS, write_numbers

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.locate import ModelFolder
    from engine.runs.session import JobSession
    from engine.training.inputs import Inputs

# The numbers of each result file, by the file's first word.
Numbers = dict[str, dict[str, Any]]


def measure(config: RunConfig, session: JobSession, trainer: Any, seconds: float) -> Numbers:
    """The numbers of `train_results.json` and, with validation rows, `eval_results.json`.

    `seconds` were spent training, pauses left out and sittings before a resume included.
    """
    state = trainer.state
    train = dict(next(x for x in reversed(state.log_history) if "train_loss" in x))
    train.pop("step", None)
    # transformers measures this sitting only, and with the time spent paused.
    seconds = max(seconds, 1e-9)
    rows = len(trainer.train_dataset) * float(state.epoch or 0.0)
    train["train_runtime"] = round(seconds, 4)
    train["train_samples_per_second"] = round(rows / seconds, 3)
    train["train_steps_per_second"] = round(state.global_step / seconds, 3)
    train["train_tokens"] = state.num_input_tokens_seen
    results = {"train": train}
    wants = config.do_eval or config.eval_strategy != "no"
    if trainer.eval_dataset is not None and wants:
        results["eval"] = _last_evaluation(trainer) or _evaluate(session, trainer)
    return results


def _evaluate(session: JobSession, trainer: Any) -> dict[str, Any]:
    session.state("evaluating")
    return {**trainer.evaluate(), "epoch": trainer.state.epoch}


def _last_evaluation(trainer: Any) -> dict[str, Any] | None:
    """The evaluation of the weights as they are now, if the run has just made it."""
    state = trainer.state
    best = state.best_global_step
    step = best if trainer.args.load_best_model_at_end and best else state.global_step
    for line in reversed(state.log_history):
        if line["step"] == step and "eval_loss" in line:
            kept = {k: v for k, v in line.items() if k.startswith("eval_")}
            return {**kept, "epoch": line["epoch"]}
    return None


def save_stopped(session: JobSession, folder: Path, trainer: Any) -> None:
    """Save the last whole step of a run that was asked to stop, and say where."""
    try:
        saved = trainer.save_stopped()
    finally:
        _write_state(folder, trainer)
    if saved is not None:
        session.say(f"Stopped after step {trainer.state.global_step}; saved {saved}.")
    else:
        session.say("Stopped before the first step was done: nothing to save.")


def write_outcome(
    config: RunConfig,
    session: JobSession,
    folder: Path,
    trainer: Any,
    inputs: Inputs,
    results: Numbers,
) -> dict[str, Any]:
    """Write the model and everything that is told about it; returns all numbers of `results`."""
    from engine.training.card import model_card
    from engine.training.checkpoints_write import write_model
    from engine.training.curves_png import draw_curves

    session.state("saving", "results")
    write_model(trainer, folder)
    if config.pissa_convert:
        _convert(session, folder, trainer)
    combined: dict[str, Any] = {}
    for name, numbers in results.items():
        combined |= numbers
        write_numbers(folder / f"{name}_results.json", numbers)
    write_numbers(folder / ALL_RESULTS, combined)
    _write_state(folder, trainer)
    if config.plot_loss:
        draw_curves(folder)
    base = _base_name(config, inputs.model_folder)
    card = model_card(config, config.run_name or folder.name, base, inputs.rows.counts, combined)
    write_atomic(folder / "README.md", card)
    return combined


def _convert(session: JobSession, folder: Path, trainer: Any) -> None:
    """The result of a PiSSA run as a plain LoRA too, in a folder of its own."""
    from engine.training.methods.conversion import write_converted

    converted = write_converted(folder)
    if converted is not None:
        trainer.processing_class.save_pretrained(converted)
        session.say(f"The adapter as a plain LoRA on the unchanged base: {converted}.")


def _base_name(config: RunConfig, model_folder: ModelFolder) -> str:
    """The hub id, or the short name of a folder (paths of this machine help nobody else)."""
    hub = model_folder.source in ("cache", "hub")
    return (config.model_name_or_path or "") if hub else model_folder.name


def _write_state(folder: Path, trainer: Any) -> None:
    from engine.training.checkpoints_write import state_json

    write_atomic(folder / "trainer_state.json", state_json(trainer.state))
