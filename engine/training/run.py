"""One training job from its description to its results; runs on the engine thread."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import FinetuiError, JobFault, Problem, Stopped
from engine.runs.atomic import write_atomic
from engine.runs.session import JobSession
from engine.runs.trainer_log import TrainerLog
from engine.training.guards import is_disk_full
from engine.training.leak_watch import LeakWatch
from engine.training.optimisers import forget_shared
from engine.training.resume import Resume, find_resume

if TYPE_CHECKING:
    from engine.config import RunConfig


def run_training(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Train as `config` says into `session.folder`; returns what came of it.

    The result holds `folder`, `steps`, `train_loss`, `eval_loss` (None without validation),
    `best_step`, `seconds` and `tokens`. Publishes everything on the way. Raises BadInput for what
    can't be trained, JobFault for a run that could not go on, Stopped once asked to stop (with
    the last whole step saved, if that was wanted).
    """
    if session.folder is None:
        raise ValueError("a training job needs a run folder")
    from engine.models.mapped import exact_memory

    try:
        with exact_memory(config.quantization_bit is not None):
            return _run(config, session, session.folder)
    except (Stopped, FinetuiError):
        raise
    except BaseException as error:
        if is_disk_full(error):
            raise JobFault(
                Problem(
                    "The disk is full: the run could not write its log or results.",
                    where=str(session.folder),
                    hint="Free some space, then resume. Earlier checkpoints are untouched.",
                )
            ) from error
        raise
    finally:
        forget_shared()
        # The model is part of reference cycles: without this it lives on (LIBRARIES.md).
        gc.collect()


def _run(config: RunConfig, session: JobSession, folder: Path) -> dict[str, Any]:
    from engine.config import write_yaml
    from engine.training.assembly import assemble
    from engine.training.checkpoints_write import sweep
    from engine.training.inputs import read_inputs
    from engine.training.outcome import measure, save_stopped, write_outcome

    log = TrainerLog(folder / "trainer_log.jsonl")
    session.state("loading")
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    resume = _find_resume(config, session, folder)
    inputs = read_inputs(config, session)

    def describe() -> None:
        write_atomic(folder / "training_args.yaml", write_yaml(config))

    ready = assemble(config, session, folder, inputs, resume, log, begun=describe)
    trainer = ready.trainer
    with ready.trackers, LeakWatch(config, session, len(inputs.rows.eval)):
        try:
            if resume is None:
                describe()  # a resumed run keeps its settings until its checkpoint is loaded
            trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
            results = measure(config, session, trainer, ready.pace.elapsed)
        except (Stopped, FinetuiError) as end:
            if getattr(end, "save", False):
                save_stopped(session, folder, trainer)
            raise
        finally:
            ready.watch.stop()
            log.close()
        numbers = write_outcome(config, session, folder, trainer, inputs, results)
        state = trainer.state
        return {
            "folder": str(folder),
            "method": config.finetuning_type,
            "steps": state.global_step,
            "train_loss": numbers.get("train_loss"),
            "eval_loss": numbers.get("eval_loss"),
            "best_step": state.best_global_step,
            "seconds": ready.pace.elapsed,
            "tokens": state.num_input_tokens_seen,
        }


def _find_resume(config: RunConfig, session: JobSession, folder: Path) -> Resume | None:
    asked = config.resume_from_checkpoint
    resume = find_resume(asked, folder)
    if resume is not None:
        session.say(f"Going on from step {resume.step} ({resume.path}).")
    elif asked:
        session.say("No complete checkpoint is there yet: the run begins at its beginning.", "note")
    return resume
