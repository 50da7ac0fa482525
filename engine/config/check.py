"""The rules between settings, gathered from their groups."""

from __future__ import annotations

from collections.abc import Callable

from engine.config import (
    computing,
    data,
    distillation,
    export,
    feeding,
    generation,
    jobs,
    losses,
    media,
    method,
    model,
    optimiser,
    optimiser_rules,
    preference,
    quantisation,
    reinforcement,
    reward,
    saving_rules,
    thoughts,
    trackers,
    training,
    variant_rules,
    vocabulary,
)
from engine.config.run_config import RunConfig
from engine.problem import Problem

Rule = Callable[[RunConfig], Problem | None]

# Numbers follow the published list of rules; o1, o2, … are finetui's own.
RULES: tuple[tuple[str, Rule], ...] = (
    *model.RULES,
    *method.RULES,
    *variant_rules.RULES,
    *quantisation.RULES,
    *computing.RULES,
    *training.RULES,
    *preference.RULES,
    *reward.RULES,
    *reinforcement.RULES,
    *distillation.RULES,
    *losses.RULES,
    *optimiser.RULES,
    *optimiser_rules.RULES,
    *saving_rules.RULES,
    *data.RULES,
    *feeding.RULES,
    *thoughts.RULES,
    *media.RULES,
    *vocabulary.RULES,
    *trackers.RULES,
    *generation.RULES,
    *jobs.RULES,
)
EXPORT_RULES: tuple[tuple[str, Rule], ...] = (
    ("1", model.model_is_named),
    ("16", method.adapter_needs_its_method),
    *export.RULES,
)
CHAT_RULES: tuple[tuple[str, Rule], ...] = (
    ("1", model.model_is_named),
    ("16", method.adapter_needs_its_method),
    ("o5", model.device_is_one),
    *quantisation.CHAT_RULES,
    *computing.CHAT_RULES,
    *generation.RULES,
)
REMARKS: tuple[Rule, ...] = (
    *method.REMARKS,
    *variant_rules.REMARKS,
    *quantisation.REMARKS,
    *computing.REMARKS,
    *training.REMARKS,
    *optimiser.REMARKS,
    *optimiser_rules.REMARKS,
    *preference.REMARKS,
    *saving_rules.REMARKS,
    *thoughts.REMARKS,
    *media.REMARKS,
    *vocabulary.REMARKS,
    *trackers.REMARKS,
)


def check(config: RunConfig, job: str = "") -> list[Problem]:
    """Every rule that this run breaks, in the order of the form; empty when it may start.

    `job` chooses the rules: `export` and `chat` ask only for what they use, anything else goes by
    the run's own do_train, do_eval and do_predict.
    """
    rules = {"export": EXPORT_RULES, "chat": CHAT_RULES}.get(job, RULES)
    found = (rule(config) for _, rule in rules)
    return [problem for problem in found if problem is not None]


def remarks(config: RunConfig) -> list[Problem]:
    """What may run but is seldom meant; a reader of the settings should know it."""
    found = (remark(config) for remark in REMARKS)
    return [problem for problem in found if problem is not None]
