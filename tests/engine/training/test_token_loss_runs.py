"""DFT, ASFT and EAFT in the trainer: TRL's DFT, the anchor without a second model, learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from engine.events import Evaluated, StepLogged
from engine.problem import BadInput
from engine.training import run_training
from engine.training.collate import Padded
from engine.training.dataset import to_dataset
from engine.training.losses.tokens import TokenObjective, asft
from engine.training.references import Reference

LENGTHS = (24, 9, 40, 17)


def rows_with_prompts() -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in LENGTHS:
        ids = torch.randint(3, 250, (length,), generator=generator).tolist()
        prompt = length // 3
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return rows


def load(folder: Path) -> Any:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(1)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture
def make_trainer(model_folder: Path, tmp_path: Path, make_session: Any) -> Any:
    def make(model: Any, **more: Any) -> Any:
        from engine.training.arguments import arguments_class
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.stages.sft import SFT_ARGUMENTS
        from engine.training.stop import Gate
        from engine.training.trainer import SftTrainer

        session, _ = make_session(tmp_path)
        return SftTrainer(
            model=model,
            args=arguments_class(SFTConfig)(
                output_dir=str(tmp_path),
                use_cpu=True,
                bf16=False,
                report_to="none",
                remove_unused_columns=False,
                disable_tqdm=True,
                **SFT_ARGUMENTS,
            ),
            data_collator=Padded(0),
            train_dataset=to_dataset(rows_with_prompts()),
            processing_class=AutoTokenizer.from_pretrained(model_folder),
            gate=Gate(session),
            writer=CheckpointWriter(tmp_path, session, keep=None, threads=1, elapsed=lambda: 0.0),
            **more,
        )

    return make


def test_dft_is_trls_in_value_and_gradient(
    make_trainer: Any, model_folder: Path, tmp_path: Path
) -> None:
    rows = rows_with_prompts()
    theirs = SFTTrainer(
        model=load(model_folder),
        args=SFTConfig(
            output_dir=str(tmp_path / "trl"),
            loss_type="dft",
            use_cpu=True,
            bf16=False,
            report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        data_collator=Padded(0),
        train_dataset=to_dataset(rows),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
    )
    longest = max(LENGTHS)
    batch = Padded(0)(rows)
    labels = [row["labels"] + [-100] * (longest - len(row["labels"])) for row in rows]
    theirs.model.train()
    expected = theirs.compute_loss(
        theirs.model,
        {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "labels": torch.tensor(labels),
        },
        num_items_in_batch=torch.tensor(50),
    )
    expected.backward()
    ours = make_trainer(load(model_folder), objective=TokenObjective("dft"))
    ours.model.train()
    loss = ours.compute_loss(ours.model, batch, num_items_in_batch=torch.tensor(50))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    wanted = dict(theirs.model.named_parameters())
    for name, weight in ours.model.named_parameters():
        assert torch.allclose(weight.grad, wanted[name].grad, atol=1e-6), name


def test_asft_with_lora_is_anchored_at_the_base_and_leaves_the_adapter_on(
    make_trainer: Any, model_folder: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    rows = rows_with_prompts()
    base = load(model_folder).eval()
    model = get_peft_model(load(model_folder), LoraConfig(target_modules="all-linear", r=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data += 0.05 * torch.randn_like(weight)
    trainer = make_trainer(model, objective=TokenObjective("asft", 0.4), reference=Reference())
    batch = Padded(0)(rows)
    keep = batch["shift_labels"] != -100
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        now = model(**inputs).logits[keep]
        start = base(**inputs).logits[keep]
    assert not torch.allclose(now, start, atol=1e-2)
    expected = asft(now, batch["shift_labels"][keep], start, 0.4).mean()
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert trainer.model.training
    assert trainer._metrics["train"]["kl"][0] > 0
    with torch.no_grad():
        assert torch.allclose(model(**inputs).logits[keep], now, atol=1e-6)


def test_the_losses_are_plain_in_evaluation(make_trainer: Any, model_folder: Path) -> None:
    model = load(model_folder)
    batch = Padded(0)(rows_with_prompts())
    found = []
    for objective in (TokenObjective(), TokenObjective("dft"), TokenObjective("eaft", 2.0)):
        trainer = make_trainer(model, objective=objective)
        trainer.model.eval()
        found.append(trainer.compute_loss(trainer.model, batch).item())
    assert found[1:] == [found[0]] * 2


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("loss", ["dft", "asft", "eaft"])
def test_each_loss_learns(
    loss: str, method: str, make_config: Any, make_session: Any, tmp_path: Path
) -> None:
    session, listener = make_session(tmp_path / "run")
    config = make_config(
        **{f"use_{loss}_loss": True},
        finetuning_type=method,
        learning_rate=3e-2 if method == "lora" else 1e-2,
        num_train_epochs=6,
        val_size=6,
        eval_strategy="steps",
        eval_steps=1000,
        eval_on_start=True,
        do_eval=True,
        save_strategy="no",
        eaft_alpha=0.5,
    )
    run_training(config, session)
    evaluations = listener.of(Evaluated)
    print(f"{loss} {method}: held-out loss {evaluations[0].loss:.3f} -> {evaluations[-1].loss:.3f}")
    # An adapter on a random model has little to work with.
    share = 0.98 if method == "lora" else 0.8
    assert evaluations[-1].loss < share * evaluations[0].loss
    logged = listener.of(StepLogged)
    assert logged[-1].watched["cross_entropy"] < logged[0].watched["cross_entropy"]
    assert ("kl" in logged[-1].watched) == (loss == "asft")
    if loss == "asft":
        assert logged[0].watched["kl"] == pytest.approx(0.0, abs=1e-6)
        assert logged[-1].watched["kl"] > 0


def test_two_losses_at_once_are_refused() -> None:
    from dataclasses import replace

    from engine.config import RunConfig
    from engine.training.stages.sft import objective_of

    both = replace(RunConfig(), use_dft_loss=True, use_eaft_loss=True)
    with pytest.raises(BadInput, match="one loss"):
        objective_of(both)
    assert objective_of(replace(both, use_dft_loss=False)) == TokenObjective("eaft", 1.0)
