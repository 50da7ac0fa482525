"""The private names of transformers and TRL that finetui's trainers build on are still there."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

SHARED = (
    "_get_train_sampler",
    "_get_eval_sampler",
    "_run_epoch",
    "_get_grad_norm",
    "_track_num_input_tokens",
    "_save",
    "_save_checkpoint",
    "_load_optimizer_and_scheduler",
    "_clip_grad_norm",
    "_save_scaler",
    "_load_from_checkpoint",
    "_load_best_model",
    "_evaluate",
    "_determine_best_metric",
)
SET_WHILE_TRAINING = (
    "_tr_loss",
    "_globalstep_last_logged",
    "_total_loss_scalar",
    "_initial_global_step",
    "_initial_num_input_tokens_seen",
)


@pytest.mark.parametrize("name", SHARED)
def test_the_trainer_has_the_method(name: str) -> None:
    from transformers import Trainer

    assert callable(getattr(Trainer, name))


@pytest.mark.parametrize("name", SET_WHILE_TRAINING)
def test_the_trainer_sets_the_attribute(name: str) -> None:
    from transformers import Trainer

    tree = ast.parse(inspect.getsource(inspect.getmodule(Trainer)))
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert name in found


def test_the_lists_above_are_all_that_is_used() -> None:
    from transformers import Trainer

    import engine.training.run_trainer as module

    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.FunctionDef))
    }
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    theirs = {name for name in private if hasattr(Trainer, name)}
    assert theirs <= set(SHARED)


def test_the_arguments_know_how_to_choose_devices() -> None:
    from transformers import TrainingArguments

    assert callable(vars(TrainingArguments)["_setup_devices"].func)


def test_the_order_that_resuming_relies_on() -> None:
    import trl
    from transformers import Trainer

    loop = inspect.getsource(Trainer._inner_training_loop)
    epoch = inspect.getsource(Trainer._run_epoch)
    for name in ("_tr_loss", "_total_loss_scalar", "_globalstep_last_logged"):
        assert f"self.{name} =" in loop, name
    # Sums are reset, then on_train_begin; the loader draws, then on_step_begin; the gradient's
    # norm, then the optimiser.
    assert loop.index("_tr_loss =") < loop.index("on_train_begin")
    assert epoch.index("iter(train_dataloader)") < epoch.index("on_step_begin")
    assert epoch.index("_get_grad_norm") < epoch.index("optimizer.step()")
    assert trl.SFTTrainer._save_checkpoint is not Trainer._save_checkpoint
