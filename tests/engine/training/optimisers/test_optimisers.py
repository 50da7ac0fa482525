"""What each family does: whom it trains, at which rate, how it is clipped, what is saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine, StepLogged
from engine.problem import BadInput, JobFault
from engine.training import run_training

RANK = {"galore_rank": 4, "apollo_rank": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True},
    "galore-layerwise": {"use_galore": True, "galore_layerwise": True},
    "apollo": {"use_apollo": True},
    "apollo-layerwise": {"use_apollo": True, "apollo_layerwise": True},
    "badam-layer": {"use_badam": True},
    "badam-ratio": {"use_badam": True, "badam_mode": "ratio"},
    "adam_mini": {"use_adam_mini": True},
    "muon": {"use_muon": True},
}
LAYERWISE = ("galore-layerwise", "apollo-layerwise")


# -- the loss falls ------------------------------------------------------------------------------

LOWERED = {name: changes for name, changes in FAMILIES.items() if name not in LAYERWISE}


@pytest.mark.parametrize("name", LOWERED)
def test_twenty_steps_lower_the_loss(name: str, watched: Callable[..., Any]) -> None:
    _, listener = watched(
        max_steps=20,
        badam_switch_interval=3,
        # Of each matrix a twentieth moves at a time.
        learning_rate=2e-2 if name == "badam-ratio" else 3e-3,
        lr_scheduler_type="constant",
        **RANK,
        **LOWERED[name],
    )
    losses = [event.loss for event in listener.of(StepLogged)]
    first, last = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    print(f"{name}: {first:.3f} to {last:.3f}")
    assert last < first - 0.05


DEMO: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True, "learning_rate": 1e-4},
    "apollo": {"use_apollo": True, "learning_rate": 1e-4},
    "badam-layer": {"use_badam": True, "learning_rate": 5e-5, "badam_switch_interval": 4},
    "badam-ratio": {"use_badam": True, "badam_mode": "ratio", "learning_rate": 2e-4},
    "adam_mini": {"use_adam_mini": True, "learning_rate": 3e-5},
    "muon": {"use_muon": True, "learning_rate": 5e-5},
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", DEMO)
def test_twenty_steps_lower_the_loss_of_the_demo_model(
    name: str, make_session: Callable[..., Any], tmp_path: Path
) -> None:
    from engine.config import read_flat
    from engine.models.demo import demo_folder, demo_ready

    if not demo_ready():
        pytest.skip("the demo model is not on this disk")
    config = read_flat(
        {
            "model_name_or_path": str(demo_folder()),
            "dataset": "identity",
            "dataset_dir": str(Path(__file__).parents[4] / "data"),
            "finetuning_type": "full",
            "do_train": True,
            "cutoff_len": 64,
            "per_device_train_batch_size": 4,
            "max_steps": 20,
            "logging_steps": 1,
            "save_strategy": "no",
            "lr_scheduler_type": "constant",
            "pure_bf16": True,
            "use_cpu": True,
            "memory_reserve_gb": 0,
            **DEMO[name],
        },
        "demo",
    ).config
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    losses = [event.loss for event in listener.of(StepLogged)]
    assert len(losses) == 20
    first, last = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    print(f"{name}: {first:.3f} to {last:.3f}")
    assert last < first - 0.2


# -- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FAMILIES, "plain"])
def test_a_small_limit_clips_what_is_not_layerwise(name: str, watched: Callable[..., Any]) -> None:
    """SGD-like checks can't be made on Adam: so the gradients themselves are looked at."""
    import torch

    seen: list[float] = []
    from transformers import TrainerCallback

    from engine.training import parts as parts_module

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            values = [g._values() if g.is_sparse else g for g in gradients]
            total = sum(float(value.double().norm()) ** 2 for value in values)
            seen.append(math.sqrt(total))

    original = parts_module.Parts.run_options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            parts_module.Parts,
            "run_options",
            lambda parts: {
                **(options := original(parts)),
                "callbacks": [*options["callbacks"], Look()],
            },
        )
        _, listener = watched(max_grad_norm=0.01, **RANK, **FAMILIES.get(name, {}))
    told = [event.grad_norm for event in listener.of(StepLogged)]
    assert all(norm > 0.02 for norm in told), "the norm told is the one before clipping"
    if name in LAYERWISE:
        assert seen == [0.0, 0.0], "each layer's gradient is gone once it was used"
        assert torch.tensor(told).isfinite().all()
    else:
        assert seen == pytest.approx([0.01, 0.01], rel=1e-3)


def test_layerwise_and_whole_galore_are_the_same(watched: Callable[..., Any]) -> None:
    """Without clipping the order of the updates changes nothing but roundings."""
    import torch

    settings = {"use_galore": True, "max_grad_norm": 0.0, **RANK}
    whole, told = watched(**settings)
    layerwise, told_layerwise = watched(galore_layerwise=True, **settings)
    for one, other in zip(whole.model.parameters(), layerwise.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    norms = [event.grad_norm for event in told.of(StepLogged)]
    assert [event.grad_norm for event in told_layerwise.of(StepLogged)] == pytest.approx(norms)


def test_a_layerwise_run_ends_before_infinite_gradients_move_a_weight(
    watched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from engine.training.optimisers.layerwise import LayerwiseOptimizer

    original = LayerwiseOptimizer._update
    moved: list[bool] = []

    def poisoned(self: Any, number: int, inner: Any, parameter: Any) -> None:
        parameter.grad.fill_(float("inf"))
        before = parameter.detach().clone()
        try:
            original(self, number, inner, parameter)
        finally:
            moved.append(not torch.equal(before, parameter))

    monkeypatch.setattr(LayerwiseOptimizer, "_update", poisoned)
    with pytest.raises(JobFault, match="not a finite number"):
        watched(use_galore=True, galore_layerwise=True, **RANK)
    assert moved == [False]


# -- who is trained how --------------------------------------------------------------------------


def test_galore_projects_the_linear_layers_of_the_blocks(watched: Callable[..., Any]) -> None:
    trainer, _ = watched(use_galore=True, weight_decay=0.1, **RANK)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    projected = [g for g in trainer.optimizer.param_groups if "rank" in g]
    assert len(projected) == 1 and projected[0]["weight_decay"] == 0.1
    kinds = {names[id(p)].split(".")[-2] for p in projected[0]["params"]}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    decays = {
        names[id(p)]: group["weight_decay"]
        for group in trainer.optimizer.param_groups
        for p in group["params"]
    }
    assert decays["model.norm.weight"] == 0 and decays["model.embed_tokens.weight"] == 0.1
    assert len(decays) == len(names)


def test_galore_projects_only_what_is_named(watched: Callable[..., Any]) -> None:
    trainer, _ = watched(use_galore=True, galore_target="q_proj,down_proj", **RANK)
    (projected,) = [g for g in trainer.optimizer.param_groups if "rank" in g]
    assert len(projected["params"]) == 2 * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"use_galore": True, "galore_target": "no_such_layer"},
        {"use_galore": True, "galore_rank": 4000},
        {"optim": "apollo_adamw", "optim_target_modules": "no_such_layer"},
    ],
)
def test_nothing_to_project_is_refused(changes: dict, watched: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="nothing to project"):
        watched(**{**RANK, **changes})


def test_muon_trains_matrices_and_adamw_the_rest(watched: Callable[..., Any]) -> None:
    trainer, _ = watched(use_muon=True)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    state = trainer.optimizer.state
    for parameter, values in state.items():
        inside = names[id(parameter)].endswith("_proj.weight")
        assert set(values) == ({"momentum_buffer"} if inside else {"step", "exp_avg", "exp_avg_sq"})
    assert len(state) == len(names)
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {0.0}, "the scheduler reached the end of all groups"


def test_lora_plus_gives_b_its_own_rate(watched: Callable[..., Any]) -> None:
    trainer, _ = watched(
        finetuning_type="lora",
        loraplus_lr_ratio=16,
        lr_scheduler_type="constant",
        additional_target="embed_tokens",
        weight_decay=0.1,
    )
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            is_b = "lora_B" in names[id(parameter)]
            assert group["lr"] == pytest.approx(16e-3 if is_b else 1e-3)
            assert group["weight_decay"] == 0.1


def test_lora_plus_trains_embedding_adapters_slowly(watched: Callable[..., Any]) -> None:
    trainer, _ = watched(
        finetuning_type="lora",
        loraplus_lr_ratio=16,
        loraplus_lr_embedding=3e-6,
        lr_scheduler_type="constant",
        lora_target="q_proj,embed_tokens",
    )
    rates = sorted({group["lr"] for group in trainer.optimizer.param_groups if group["params"]})
    assert rates == pytest.approx([3e-6, 1e-3, 16e-3])


def test_badam_moves_one_block_and_says_which(watched: Callable[..., Any]) -> None:
    trainer, listener = watched(
        use_badam=True,
        badam_start_block=1,
        badam_switch_mode="fixed",
        badam_switch_interval=-1,
        badam_verbose=2,
    )
    trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith("model.layers.1.") for name in trained)
    told = [event.text for event in listener.of(LogLine)]
    assert any("BAdam trains block 1 of 3" in text for text in told)
    assert any("model.layers.1.mlp.up_proj.weight" in text for text in told)


def test_badam_switches_after_its_steps(watched: Callable[..., Any]) -> None:
    _, listener = watched(use_badam=True, badam_switch_interval=2, badam_verbose=1, max_steps=5)
    told = [event.text for event in listener.of(LogLine) if "BAdam trains" in event.text]
    assert [text.split()[3] for text in told] == ["0", "1", "2", "0"]


def test_badam_refuses_a_block_that_is_not_there(watched: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="3 blocks"):
        watched(use_badam=True, badam_start_block=3)


def test_badam_ratio_moves_its_share(watched: Callable[..., Any]) -> None:
    from safetensors.torch import load_file

    trainer, _ = watched(use_badam=True, badam_mode="ratio", badam_update_ratio=0.25, max_steps=1)
    before = load_file(Path(trainer.plan.config.model_name_or_path) / "model.safetensors")
    for name, after in trainer.model.named_parameters():
        changed = (after != before[name]).float().mean().item()
        if "embed" in name:
            assert changed == 0
        else:
            assert 0.15 < changed <= 0.251, name


def test_schedule_free_saves_the_average(watched: Callable[..., Any]) -> None:
    import torch
    from safetensors.torch import load_file

    trainer, _ = watched(
        optim="schedule_free_adamw", lr_scheduler_type="constant", learning_rate=1e-2, max_steps=4
    )
    folder = Path(trainer.args.output_dir)
    saved = load_file(folder / "model.safetensors")
    held = dict(trainer.model.named_parameters())
    assert trainer.optimizer.optimizer.param_groups[0]["train_mode"]
    trainer.optimizer.eval()
    for name, weight in saved.items():
        assert torch.allclose(weight, held[name], atol=1e-7), name


def test_schedule_free_counts_its_own_warm_up_in_steps(watched: Callable[..., Any]) -> None:
    settings = {"optim": "schedule_free_adamw", "warmup_ratio": 0.5, "max_steps": 4}
    trainer, _ = watched(lr_scheduler_type="constant", **settings)
    assert trainer.optimizer.param_groups[0]["warmup_steps"] == 2
    trainer, _ = watched(lr_scheduler_type="constant_with_warmup", **settings)
    assert trainer.optimizer.param_groups[0]["warmup_steps"] == 0


def test_a_warm_up_longer_than_the_run_is_noted(watched: Callable[..., Any]) -> None:
    _, listener = watched(warmup_steps=50, max_steps=2)
    assert any("Warm-up takes 50 steps" in event.text for event in listener.of(LogLine))


@pytest.mark.parametrize("name", ["badam-layer", "badam-ratio", "adam_mini", "galore", "apollo"])
def test_libraries_print_nothing(
    name: str, watched: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    watched(badam_switch_mode="random", badam_switch_interval=1, **RANK, **FAMILIES[name])
    printed = capfd.readouterr().out
    assert printed == ""
