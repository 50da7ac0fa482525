"""What a run starts from: the model's files, adapters to go on with, and rows as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Encoder, Prepared
    from engine.models.locate import ModelFolder
    from engine.models.processor import Media
    from engine.runs.session import JobSession


@dataclass(frozen=True)
class Inputs:
    """Everything that a run reads before it loads any weight.

    `adapters` are the folders that training goes on from; `encoder` knows the run's tokenizer and
    template; `media` reads the media of a model that takes some (None for one that takes none);
    `rows` has at least one row to train on.
    """

    model_folder: ModelFolder
    adapters: list[Path]
    encoder: Encoder
    media: Media | None
    rows: Prepared


def read_inputs(config: RunConfig, session: JobSession) -> Inputs:
    """Find the model, check that the run can be computed here, and encode its rows.

    What can't work is told as early as it can be known: BadInput before any row is read where the
    settings and the model's files say it. Says the notes; asks often whether to stop.
    """
    from engine.datasets import Encoder, prepare
    from engine.models import adapter_folders, choose_device, resolve
    from engine.models.computing import plan_computing
    from engine.models.processor import see_through
    from engine.models.quantised.stored import check_stored
    from engine.training.methods.before import check_before_loading
    from engine.training.optimisers import check_optimiser

    def check_stop() -> None:
        session.control.check()

    folder = resolve(
        config.model_name_or_path or "", config, progress=session.progress, check_stop=check_stop
    )
    for note in check_stored(folder.path, config, for_training=True):
        session.say(note, "note")
    check_before_loading(folder.path, config)
    device = choose_device(config)
    check_optimiser(config, device)
    adapters = adapter_folders(",".join(config.adapters))
    plan_computing(folder.path, config, device, True, adapters)
    encoder = Encoder(folder.path, config)
    media = see_through(encoder, folder.path, config)
    rows = prepare(config, encoder, session.progress, check_stop)
    if not len(rows.train):
        raise BadInput(
            Problem(
                "There are no rows to train on.",
                where="dataset",
                hint="Name a set in dataset.",
                setting="dataset",
            )
        )
    for note in rows.notes:
        session.say(note, "note")
    return Inputs(folder, adapters, encoder, media, rows)
