"""The model of a run: loaded in its precision, its vocabulary grown, its method applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision
    from engine.runs.session import JobSession
    from engine.training.inputs import Inputs
    from engine.training.resume import Resume


@dataclass(frozen=True)
class Loaded:
    """A model that is ready for its trainer, and what was settled on the way.

    `model` has the method applied (a PeftModel for LoRA), `tokenizer` the run's template.
    `threads` is the number of CPU threads that the run computes with; `checkpointing` tells
    whether activations are computed again in the backward pass.
    """

    model: Any
    tokenizer: Any
    precision: Precision
    device: str
    threads: int
    checkpointing: bool


def load_for_training(
    config: RunConfig, session: JobSession, folder: Path, inputs: Inputs, resume: Resume | None
) -> Loaded:
    """Load what `inputs` names; a run that goes on keeps its number of threads and its first base.

    Draws the new weights of a head and of an adapter from the seed alone. What the method changed
    in the base is kept beside the run in `folder`, before any step.
    """
    from engine.models import choose_device, choose_precision, load_model
    from engine.models.changed_base import save_beside
    from engine.models.computing import computing_notes
    from engine.models.parameter_list import parameter_lines
    from engine.models.threads import choose_threads, use_threads
    from engine.models.vocabulary import grow_embeddings
    from engine.training.methods import apply_method
    from engine.training.stages import STAGES

    session.progress("loading the model", 0, 3, "parts")
    threads = resume.threads if resume and resume.threads else choose_threads().count
    use_threads(threads)
    device = choose_device(config)
    precision = choose_precision(config, device)
    for note in precision.notes:
        session.say(note, "note")
    tokenizer = _tokenizer(config, inputs)
    session.control.check()
    checkpointing = _checkpointing(config, session, inputs, device)
    session.progress("loading the model", 1, 3, "parts")
    _seed(config.seed)
    model = load_model(
        inputs.model_folder.path,
        config,
        precision,
        device,
        True,
        STAGES[config.stage].head,
        inputs.adapters,
    )
    grown = grow_embeddings(model, inputs.encoder.tokenizer, config)
    for note in (*computing_notes(model), *grown):
        session.say(note)
    session.control.check()
    session.progress("loading the model", 2, 3, "parts")
    _seed(config.seed)  # the adapter's first values depend on the seed alone
    model = apply_method(model, config, precision, resume.path if resume else None)
    save_beside(model, folder)  # the first values, before any step
    if config.print_param_status:
        for line in parameter_lines(model):
            session.say(line)
    return Loaded(model, tokenizer, precision, device, threads, checkpointing)


def _tokenizer(config: RunConfig, inputs: Inputs) -> Any:
    from engine.models import load_tokenizer
    from engine.models.vocabulary import add_to_tokenizer

    tokenizer = load_tokenizer(
        inputs.model_folder.path, bool(config.trust_remote_code), config.split_special_tokens
    )
    add_to_tokenizer(tokenizer, config)
    if inputs.encoder.template_source:
        tokenizer.chat_template = inputs.encoder.template_source
    return tokenizer


def _checkpointing(config: RunConfig, session: JobSession, inputs: Inputs, device: str) -> bool:
    """Gradient checkpointing: left out where all activations clearly fit, as it saves memory for
    about a third more time."""
    from engine.training.memory_plan import plan_checkpointing

    rows = inputs.rows
    wanted, sentence = plan_checkpointing(
        config, inputs.model_folder.path, device, rows.train, rows.longest
    )
    if sentence:
        session.say(sentence)
    return wanted


def _seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)
