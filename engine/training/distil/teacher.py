"""The teacher of a distillation: loaded once, frozen, reading text as the student does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, Problem
from engine.training.references import Reference, is_bare_base
from engine.training.second_model import blamed_on, find_second, load_frozen

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
    config, session = parts.config, parts.session
    if not config.teacher_model:
        raise _bad("distill needs a teacher.", "teacher_model", "Name a model in teacher_model.")
    with blamed_on("teacher_model"):
        found = find_second(parts, config.teacher_model)
    if is_bare_base(parts, found.path):
        session.say("The teacher is the student without its adapter: one copy of it is held.")
        return Teacher(Reference(), _head_width(parts.model))
    _check_same_tokens(parts, found.path)
    with blamed_on("teacher_model"):
        model = load_frozen(parts, found.path)
    width = min(_head_width(parts.model), _head_width(model))
    session.say(f"The teacher is {found.name}.")
    return Teacher(Reference(model=model), width)


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
