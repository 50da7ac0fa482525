"""A student learns a teacher's output distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _distils(config: Any) -> bool:
    return bool(config.stage == "distill")


@group
class DistillationGroup:
    """Teacher, what it is asked about, and the divergence."""

    teacher_model: str | None = setting(
        None,
        label="Teacher",
        section="Distillation",
        level="basic",
        own=True,
        help="The model whose output distribution is learned: a folder or hub id with the same "
        "tokens as the student.",
        usual="a larger model of the same family",
        goes_with=("distill_on",),
        applies=_distils,
    )
    distill_on: Literal["data", "samples"] = setting(
        "data",
        label="Learns on",
        section="Distillation",
        level="basic",
        own=True,
        help="What teacher and student are compared on: the set's answers (data), or answers that "
        "the student writes itself (samples).",
        usual="data; samples once the student answers well, at much more time",
        goes_with=("teacher_model", "max_new_tokens"),
        applies=_distils,
    )
    distill_beta: float = setting(
        0.0,
        label="Divergence",
        section="Distillation",
        level="basic",
        own=True,
        help="Between forward KL (0: covers all that the teacher would say) and reverse KL (1: "
        "sticks to what it says most).",
        higher="fewer, safer answers, as the teacher's likeliest",
        lower="the teacher's whole variety",
        usual="0 on data, 0.5 … 1 on samples",
        goes_with=("distill_on", "distill_temperature"),
        applies=_distils,
        ge=0,
        le=1,
    )
    distill_temperature: float = setting(
        1.0,
        label="Softening",
        section="Distillation",
        own=True,
        help="Flattens both distributions by this temperature before they are compared.",
        higher="the teacher's second and third choices count more",
        lower="its first choice counts most",
        usual="1 … 2",
        goes_with=("distill_beta",),
        applies=_distils,
        gt=0,
    )


def student_has_a_teacher(config: RunConfig) -> Problem | None:
    """Without a teacher there is nothing to learn."""
    if config.do_train and _distils(config) and not (config.teacher_model or "").strip():
        return Problem(
            "distill learns from a teacher, but none is given.",
            hint="Name a larger model of the same family in teacher_model.",
            setting="teacher_model",
        )
    return None


RULES = (("o23", student_has_a_teacher),)
