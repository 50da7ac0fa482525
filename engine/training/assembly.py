"""A loaded model, its rows and everything that watches over the steps become one trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.training.guards import GIB, MemoryWatch
from engine.training.pace import Pace
from engine.training.stop import Gate

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.runs.session import JobSession
    from engine.runs.trainer_log import TrainerLog
    from engine.training.inputs import Inputs
    from engine.training.loading import Loaded
    from engine.training.resume import Resume
    from engine.training.trackers import Trackers


@dataclass(frozen=True)
class Assembled:
    """A trainer that is ready for its first step, and what goes with it until the run's end.

    `trackers` is a context manager round the run; `watch` runs from here on and is to be stopped;
    `pace` counts the seconds spent training, those before a resume included.
    """

    trainer: Any
    trackers: Trackers
    watch: MemoryWatch
    pace: Pace


def assemble(
    config: RunConfig,
    session: JobSession,
    folder: Path,
    inputs: Inputs,
    resume: Resume | None,
    log: TrainerLog,
    begun: Callable[[], None],
) -> Assembled:
    """Load the model and build the stage's trainer over the rows of `inputs`.

    Curves go into `log`, checkpoints into `folder`; `begun` is called before the first step.
    Raises BadInput or JobFault for a model that can't be loaded or a stage that can't be built
    from it.
    """
    from engine.telemetry import memory_left
    from engine.training.attention import ON_ROWS, on_rows
    from engine.training.callbacks import RunCallback
    from engine.training.checkpoints_write import CheckpointWriter
    from engine.training.dataset import to_dataset
    from engine.training.each_set import sets_of, stream_of
    from engine.training.loading import load_for_training
    from engine.training.parts import Parts
    from engine.training.stages import build_trainer

    loaded = load_for_training(config, session, folder, inputs, resume)
    watch = MemoryWatch(memory_left, int(config.memory_reserve_gb * GIB))
    gate = Gate(session, guards=(watch.check,))
    pace = Pace(resume.elapsed if resume else 0.0, paused=lambda: gate.paused_seconds)
    description = _description(config, inputs, loaded)
    voice = RunCallback(session, log, pace, description, begun)
    trackers = _trackers(config, session, folder, description, resume)
    rows = inputs.rows
    evaluation = to_dataset(rows.eval) if len(rows.eval) else None
    trainer = build_trainer(
        Parts(
            config=config,
            model=loaded.model,
            tokenizer=loaded.tokenizer,
            train=to_dataset(rows.train),
            evaluation=evaluation,
            eval_sets=sets_of(config, rows, evaluation),
            stream=stream_of(rows, session),
            precision=loaded.precision,
            device=loaded.device,
            folder=folder,
            checkpointing=loaded.checkpointing,
            gate=gate,
            writer=CheckpointWriter(
                folder,
                session,
                keep=config.save_total_limit,
                threads=loaded.threads,
                elapsed=lambda: pace.elapsed,
                resumed=resume.path if resume else None,
            ),
            resume=resume,
            callbacks=[voice, trackers],
            session=session,
            encoder=inputs.encoder,
            model_folder=inputs.model_folder,
            media=inputs.media,
        )
    )
    voice.trainer = trainer
    if on_rows(loaded.model):
        session.say(ON_ROWS)
    watch.start(_layers(loaded.model))
    session.progress("loading the model", 3, 3, "parts")
    if config.dataloader_num_workers:
        session.say("dataloader_num_workers: the run loads its rows itself.", "note")
    return Assembled(trainer, trackers, watch, pace)


def _description(config: RunConfig, inputs: Inputs, loaded: Loaded) -> dict[str, Any]:
    """What the run is, in the fields of `RunDescribed` that are known before its first step."""
    from engine.models.quantise import count_parameters

    model = loaded.model
    return {
        "model": inputs.model_folder.name,
        "stage": config.stage,
        "method": config.finetuning_type,
        "rows": len(inputs.rows.train),
        "eval_rows": len(inputs.rows.eval),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "parameters": count_parameters(model),
        "precision": loaded.precision.name,
        "device": loaded.device,
        "effective_batch": config.effective_batch,
    }


def _trackers(
    config: RunConfig,
    session: JobSession,
    folder: Path,
    description: dict[str, Any],
    resume: Resume | None,
) -> Trackers:
    from engine.config import to_flat
    from engine.training.trackers import Trackers

    facts = {**to_flat(config, only_changed=True), **description}
    return Trackers(config, session, folder, facts, resume.step if resume else 0)


def _layers(model: Any) -> list[Any]:
    """The decoder blocks of a model: the longest list of modules of one class."""
    import torch

    lists = [list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=lambda blocks: len(blocks), default=[])
