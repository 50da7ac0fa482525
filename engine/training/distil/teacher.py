"""The teacher of a distillation: loaded once, frozen, reading text as the student does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem
from engine.training.references import Reference

if TYPE_CHECKING:
    from engine.training.parts import Parts


@dataclass(frozen=True)
class Teacher:
    """A frozen model and the vocabulary it shares with the student.

    `reference.of(student)` gives the model to call. Logits are compared over the first `width`
    ids: families pad their heads to different widths, beyond every id of the tokenizer.
    """

    reference: Reference
    width: int

    @property
    def model(self) -> Any:
        """The teacher's own model, or None where it is the student without its adapter."""
        return self.reference.model


def load_teacher(parts: Parts) -> Teacher:
    """The teacher named by `teacher_model`: `demo`, a folder, or a hub id.

    With LoRA on the same base, it is the student with its adapter switched off, and no second
    copy is held. Raises BadInput without a teacher, or with one that splits text differently.
    """
    from engine.models import resolve

    config, session = parts.config, parts.session
    if not config.teacher_model:
        raise _bad("distill needs a teacher.", "teacher_model", "Name a model in teacher_model.")
    try:
        # The revision in the settings is the student's.
        found = resolve(
            config.teacher_model,
            replace(config, model_revision="main"),
            progress=session.progress,
            check_stop=session.control.check,
        )
    except BadInput as fault:
        raise BadInput(replace(fault.problem, setting="teacher_model")) from fault
    if _is_base(parts, found.path):
        session.say("The teacher is the student without its adapter: one copy of it is held.")
        return Teacher(Reference(), _head_width(parts.model))
    _check_same_tokens(parts, found.path)
    model = _load(parts, found.path)
    width = min(_head_width(parts.model), _head_width(model))
    session.say(f"The teacher is {found.name}.")
    return Teacher(Reference(model=model), width)


def _is_base(parts: Parts, folder: Path) -> bool:
    """Whether the student with its adapter off is the model in `folder`, unchanged."""
    from peft import PeftModel

    config = parts.config
    if not isinstance(parts.model, PeftModel):
        return False
    merged = len(config.adapters) - (0 if config.create_new_adapter else 1)
    same = folder.resolve() == parts.model_folder.path.resolve()
    return same and merged <= 0


def _load(parts: Parts, folder: Path) -> Any:
    from engine.models import load_model

    precision = parts.precision
    held = replace(precision, weights=precision.autocast or precision.weights)
    try:
        model: Any = load_model(folder, parts.config, held, parts.device, for_training=True)
    except BadInput as fault:
        raise BadInput(replace(fault.problem, setting="teacher_model")) from fault
    return model.requires_grad_(False)


def _head_width(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _check_same_tokens(parts: Parts, folder: Path) -> None:
    """Every token must have the same id in both: their distributions are compared id by id."""
    from engine.models import load_tokenizer

    theirs = load_tokenizer(folder, bool(parts.config.trust_remote_code)).get_vocab()
    ours = parts.tokenizer.get_vocab()
    if ours == theirs:
        return
    odd = min(
        (token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)),
        key=lambda token: (ours.get(token, len(ours)), token),
    )

    def place(vocabulary: dict[str, int]) -> str:
        return f"id {vocabulary[odd]}" if odd in vocabulary else "no id"

    raise _bad(
        "Teacher and student have different vocabularies, so their predictions can't be compared: "
        f"{odd!r} has {place(theirs)} in the teacher and {place(ours)} in the student.",
        str(folder),
        "Take a teacher of the student's family, with the same tokenizer.",
    )


def _bad(what: str, where: str, hint: str) -> BadInput:
    return BadInput(Problem(what, where=where, hint=hint, setting="teacher_model"))
