"""After memory ran out: the same run with a smaller micro-batch, from its last checkpoint.

The rows of an update stay the same, as accumulation grows by as much as the micro-batch shrinks,
and so does their order (`EpochSampler` knows updates, not micro-batches). So the run goes on as it
would have gone, but for the last digits of its sums.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import faults
from engine.config import RunConfig, check, with_value
from engine.problem import Problem
from engine.worker.jobs import Job, TrainJob


def offer(
    job: Job, folder: Path | None, error: BaseException, problem: Problem
) -> tuple[Problem, dict[str, Any]]:
    """What a person is told of a failed job, and the settings that it may go on with: those of
    `smaller_batch` where memory ran out and the run wants to be asked, else none."""
    if not faults.is_out_of_memory(error) or faults.poisons_device(error):
        return problem, {}
    if not isinstance(job, TrainJob) or job.config.recover_from_oom == "never" or folder is None:
        return problem, {}
    changes = smaller_batch(job.config, folder)
    if changes:
        hint = (
            "Go on from the last checkpoint with a smaller micro-batch and the same rows an "
            f"update: {command(folder, changes)}"
        )
        problem = replace(problem, hint=hint)
    return problem, changes


def smaller_batch(config: RunConfig, folder: Path | None) -> dict[str, Any]:
    """The settings that a run in `folder` goes on with: half the micro-batch, twice the
    accumulation (a third and three times where it is no even number, and so on).

    Empty where there is nothing smaller that the rules between settings allow.
    """
    if folder is None:
        return {}
    batch, pile = config.per_device_train_batch_size, config.gradient_accumulation_steps
    broken = {problem.what for problem in check(config)}
    for part in range(2, batch + 1):
        if batch % part:
            continue
        changes: dict[str, Any] = {
            "per_device_train_batch_size": batch // part,
            "gradient_accumulation_steps": pile * part,
            "output_dir": str(folder),
            "resume_from_checkpoint": True,
            "overwrite_output_dir": False,
        }
        if all(problem.what in broken for problem in check(changed(config, changes))):
            return changes
    return {}


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """`config` with these settings changed."""
    for name, value in changes.items():
        config = with_value(config, name, value)
    return config


def told(changes: Mapping[str, Any]) -> str:
    """The change in a few words: micro-batch 2, accumulation 8."""
    return (
        f"micro-batch {changes['per_device_train_batch_size']}, accumulation "
        f"{changes['gradient_accumulation_steps']}"
    )


def command(folder: Path, changes: Mapping[str, Any]) -> str:
    """The command that goes on without a screen."""
    words = ["finetui", "train", str(folder / "training_args.yaml")]
    for name, value in changes.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words.append(f"{name}={text}")
    return shlex.join(words)
