"""RunConfig -> the optimiser of a run, where transformers has none of that kind."""

from __future__ import annotations

import sys
from typing import Any

from engine.config.optimiser_rules import families
from engine.config.optimiser_runs import what_it_lacks
from engine.config.schedule import WITHOUT_WARMUP, schedule_problems
from engine.problem import BadInput, Problem
from engine.training.guards import check_finite
from engine.training.optimisers.groups import trained, with_decay
from engine.training.optimisers.plan import Plan


def check_optimiser(config: Any, device: str) -> None:
    """Raise BadInput where the run's optimiser can't run on `device` ("cpu", "cuda:0")."""
    names = families(config)
    if not names:
        names = [config.optim]
    elif config.use_galore and "8bit" in config.optim:
        names = ["galore_adamw_8bit"]
    elif config.use_badam:
        names = ["use_badam", config.optim]
    for name in names:
        lacking = what_it_lacks(name, "cpu" if device == "cpu" else "cuda")
        if lacking:
            raise BadInput(
                Problem(
                    lacking.rstrip(".") + ".",
                    hint="adamw_torch and adafactor run everywhere.",
                    setting="optim",
                )
            )


def build_optimiser(trainer: Any, model: Any) -> Any:
    """The optimiser for the trainer's plan; None leaves it to transformers, by `optim`.

    Raises BadInput for a model that it does not fit.
    """
    forget_shared()
    plan: Plan = trainer.plan
    config = plan.config
    decay: list[str] = trainer.get_decay_parameter_names(model)
    name = str(config.optim)
    refuse = None
    if plan.moves_in_backward:
        _check_losses(trainer)

        def refuse(norm: float) -> None:
            check_finite(trainer, 0.0, norm)

    if config.use_galore or name.startswith("galore_"):
        from engine.training.optimisers.galore import galore

        return galore(config, model, decay, refuse)
    if config.use_apollo or name.startswith("apollo_"):
        from engine.training.optimisers.apollo import apollo

        return apollo(config, model, decay, refuse)
    if config.use_adam_mini:
        from engine.training.optimisers.adam_mini import adam_mini

        return adam_mini(config, model)
    if config.use_muon:
        from engine.training.optimisers.muon import muon

        return muon(config, model, decay)
    if config.use_badam:
        from engine.training.optimisers.badam import badam

        kind, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
        return badam(config, model, decay, kind, options, plan.say)
    if config.loraplus_lr_ratio is not None:
        from engine.training.optimisers.lora_plus import lora_plus

        kind, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
        return lora_plus(config, model, kind, options)
    if name == "grokadamw":
        from engine.training.optimisers.grok import SavedGrokAdamW

        _, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
        return SavedGrokAdamW(with_decay(trained(model), decay, config.weight_decay), **options)
    return None


def say_of_schedule(plan: Plan, optimiser: Any, total_steps: int) -> None:
    """Notes on the schedule once the number of steps is known; the warm-up of optimisers that
    bring their own (schedule-free), in steps."""
    for problem in schedule_problems(plan.config, total_steps):
        plan.say(str(problem))
    for group in optimiser.param_groups:
        if "warmup_steps" in group:
            warmup = plan.config.warmup
            steps = int(warmup) if warmup >= 1 else -int(-total_steps * warmup // 1)
            own = plan.config.lr_scheduler_type in WITHOUT_WARMUP
            group["warmup_steps"] = steps if own else 0


def _check_losses(trainer: Any) -> None:
    """Look at each loss before its backward pass, which moves the weights."""
    backward = trainer.accelerator.backward

    def checked(loss: Any, **options: Any) -> None:
        check_finite(trainer, float(loss.detach()), None)
        backward(loss, **options)

    trainer.accelerator.backward = checked


def forget_shared() -> None:
    """Let bitsandbytes forget the models of earlier runs: it keeps them in one list a process,
    and would take settings of theirs for ours where an address came up again."""
    module = sys.modules.get("bitsandbytes")
    if module is not None:
        module.optim.GlobalOptimManager.get_instance().initialize()
