"""OFT: trained, saved, and, what the usual tool can't do, loaded again for everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.problem import BadInput

OFT = {"finetuning_type": "oft", "oft_block_size": 8}


@pytest.mark.slow
def test_an_adapter_trains_on(
    train: Any, load: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    """Rule 16, works here."""
    config, _ = train("first", **OFT)
    ended = logits(comes_back(config, tmp_path / "first"))
    model, _ = load(**OFT, adapter_name_or_path=str(tmp_path / "first"))
    assert (logits(model) - ended).abs().max() == 0
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained and all(".oft_R." in name for name in trained)
    second, _ = train("second", **OFT, adapter_name_or_path=str(tmp_path / "first"))
    assert (logits(comes_back(second, tmp_path / "second")) - ended).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("first", ["oft", "lora"])
def test_a_new_one_on_a_merged_one(
    first: str, train: Any, load: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    config, _ = train("first", finetuning_type=first)
    ended = logits(comes_back(config, tmp_path / "first"))
    given = {"adapter_name_or_path": str(tmp_path / "first"), "create_new_adapter": True}
    model, _ = load(**OFT, **given)
    assert (logits(model) - ended).abs().max() < 1e-4
    second, _ = train("second", **OFT, **given)
    both = f"{tmp_path / 'first'},{tmp_path / 'second'}"
    asked = comes_back(second, tmp_path / "second", adapter_name_or_path=both)
    assert (logits(asked) - ended).abs().max() > 1e-3


@pytest.mark.parametrize(("made", "asked"), [("oft", "lora"), ("lora", "oft")])
def test_an_adapter_of_the_other_method_is_told_before_loading(
    made: str, asked: str, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("first", finetuning_type=made)
    monkeypatch.setattr("engine.models.load_model", None)
    with pytest.raises(BadInput, match=f"but the method is {asked}") as caught:
        train("second", finetuning_type=asked, adapter_name_or_path=str(tmp_path / "first"))
    assert f"finetuning_type: {made}" in caught.value.problem.hint


def test_an_old_form_is_told(tmp_path: Path, train: Any) -> None:
    from safetensors.torch import load_file, save_file

    train("run", **OFT)
    file = tmp_path / "run/adapter_model.safetensors"
    save_file({k.replace(".oft_R.", ".oft_r."): v for k, v in load_file(file).items()}, file)
    with pytest.raises(BadInput, match=r"before 0\.14"):
        train("next", **OFT, adapter_name_or_path=str(tmp_path / "run"))


def test_blocks_are_left_unturned_at_random_in_training_only(load: Any, logits: Any) -> None:
    import torch

    model, _ = load(**OFT, module_dropout=0.5)
    plain, _ = load(**OFT)
    with torch.no_grad():
        for changed in (model, plain):
            torch.manual_seed(7)
            for name, weight in changed.named_parameters():
                if "oft_R" in name:
                    weight.add_(torch.randn_like(weight) * 0.2)
    assert (logits(model) - logits(plain)).abs().max() == 0
    layer = next(m for n, m in model.named_modules() if n.endswith("oft_R.default"))
    inputs = torch.randn(1, layer.in_features)
    turned, still = layer.eval()(inputs), inputs.view(layer.r, -1)
    seen: set[int] = set()
    layer.train()
    for _ in range(40):
        got = layer(inputs).view(layer.r, -1)
        left = torch.isclose(got, still, atol=1e-6).all(dim=1)
        turned_blocks = torch.isclose(got, turned.view(layer.r, -1), atol=1e-6).all(dim=1)
        assert bool((left | turned_blocks).all())
        seen.add(int(left.sum()))
    assert len(seen) > 2


@pytest.mark.parametrize(("stage", "drops"), [("sft", True), ("dpo", False), ("grpo", False)])
def test_stages_that_compare_probabilities_have_no_dropout(
    stage: str, drops: bool, load: Any
) -> None:
    from engine.training.methods.oft import DroppingRotation

    model, _ = load(**OFT, module_dropout=0.5, stage=stage)
    assert any(isinstance(m, DroppingRotation) for m in model.modules()) == drops


def test_dropout_goes_on_with_an_adapter_that_trains_on(
    train: Any, load: Any, tmp_path: Path
) -> None:
    from engine.training.methods.oft import DroppingRotation

    train("first", **OFT)
    model, _ = load(**OFT, module_dropout=0.5, adapter_name_or_path=str(tmp_path / "first"))
    assert any(isinstance(module, DroppingRotation) for module in model.modules())


def test_the_reference_of_a_preference_run_is_the_base(load: Any, plain: Any, logits: Any) -> None:
    """With the adapter switched off, whatever it has learned."""
    import torch

    from engine.training.references import Reference

    model, _ = load(**OFT)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "oft_R" in name:
                weight.add_(0.1)
    assert (logits(model) - logits(plain)).abs().max() > 1e-3
    with Reference().of(model) as still:
        assert (logits(still) - logits(plain)).abs().max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dpo", "kto", "rm", "grpo", "ppo", "distill"])
def test_every_stage_trains_with_oft(
    stage: str, make_config: Any, make_session: Any, reads_as_the_demo: Path, tmp_path: Path
) -> None:
    import math

    from engine.events import StepLogged
    from engine.training import run_training

    sets = {"dpo": "preference", "kto": "feedback", "rm": "preference"}
    config = make_config(
        **OFT,
        model_name_or_path=str(reads_as_the_demo),
        stage=stage,
        dataset=sets.get(stage, "identity"),
        dataset_dir=str(Path(__file__).parents[4] / "data"),
        max_samples=8,
        cutoff_len=96,
        max_steps=2,
        num_generations=2,
        max_new_tokens=6,
        ppo_epochs=1,
        module_dropout=0.0,
        teacher_model=str(reads_as_the_demo) if stage == "distill" else None,
        **({"reward_funcs": "length"} if stage in ("ppo", "grpo") else {}),
    )
    session, listener = make_session(tmp_path / "run")
    run_training(config, session)
    logged = listener.of(StepLogged)
    assert len(logged) == 2 and all(math.isfinite(event.loss) for event in logged)
    if stage == "dpo":
        # Policy and reference agree before the first step.
        assert logged[0].loss == pytest.approx(math.log(2), abs=1e-4)
    assert (tmp_path / "run/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("method", ["lora", "oft"])
def test_a_run_is_listed_once_and_offered_as_an_adapter(
    method: str, train: Any, strong_folder: Path, tmp_path: Path
) -> None:
    """Its folders of first values are no runs of their own."""
    from engine.runs import list_runs
    from tui.sources import run_sources

    pissa = {"pissa_init": True, "pissa_convert": True} if method == "lora" else {}
    train("saves/tiny/run", finetuning_type=method, **pissa)
    (run,) = list_runs(tmp_path / "saves")
    assert run.method == method
    (source,) = run_sources(run)
    assert source.adapter == str(run.path)
    assert source.model == str(strong_folder)
