"""The trainer's loss is GKD's with `lmbda` 0, and the heads multiply trained positions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig
from trl.experimental.gkd import GKDConfig, GKDTrainer

from engine.training import attention
from engine.training.collate import EndToEnd, Padded
from engine.training.dataset import to_dataset
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


def load(folder: Path, seed: int, name: str = "sdpa") -> Any:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=name
    )
    torch.manual_seed(seed)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture
def make_trainer(model_folder: Path, tmp_path: Path, make_session: Any) -> Any:
    def make(end_to_end: bool, beta: float) -> Any:
        from engine.training.arguments import arguments_class
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.distil.teacher import Teacher
        from engine.training.distil.trainer import DistilTrainer
        from engine.training.stages.sft import SFT_ARGUMENTS
        from engine.training.stop import Gate

        attention.register()
        name = attention.NAME if end_to_end else "sdpa"
        session, _ = make_session(tmp_path)
        other = load(model_folder, 2, name).eval().requires_grad_(False)
        width = other.get_output_embeddings().weight.shape[0]
        rows = to_dataset(rows_with_prompts())
        return DistilTrainer(
            model=load(model_folder, 1, name),
            args=arguments_class(SFTConfig)(
                output_dir=str(tmp_path),
                use_cpu=True,
                bf16=False,
                report_to="none",
                remove_unused_columns=False,
                disable_tqdm=True,
                **SFT_ARGUMENTS,
            ),
            data_collator=EndToEnd() if end_to_end else Padded(0),
            train_dataset=rows,
            eval_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(model_folder),
            gate=Gate(session),
            writer=CheckpointWriter(tmp_path, session, keep=None, threads=1, elapsed=lambda: 0.0),
            teacher=Teacher(Reference(model=other), width),
            beta=beta,
            temperature=1.0,
        )

    return make


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_loss_and_gradients_are_gkds_on_the_data(
    end_to_end: bool, beta: float, make_trainer: Any, model_folder: Path, tmp_path: Path
) -> None:
    rows = rows_with_prompts()
    ours = make_trainer(end_to_end, beta)
    theirs = GKDTrainer(
        model=load(model_folder, 1),
        teacher_model=load(model_folder, 2),
        args=GKDConfig(
            output_dir=str(tmp_path / "gkd"),
            lmbda=0.0,
            beta=beta,
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_dropout=False,
        ),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
        train_dataset=to_dataset(rows),
        data_collator=Padded(0),
    )
    longest = max(LENGTHS)
    labels = [row["labels"] + [-100] * (longest - len(row["labels"])) for row in rows]
    batch = Padded(0)(rows)
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": torch.tensor(labels),
    }
    theirs.model.train()
    expected = theirs.compute_loss(theirs.model, inputs)
    expected.backward()
    ours.model.train()
    loss = ours.compute_loss(ours.model, ours.data_collator(rows))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = dict(theirs.model.named_parameters())
    for name, weight in ours.model.named_parameters():
        assert torch.allclose(weight.grad, wanted[name].grad, atol=1e-5), name
    assert all(weight.grad is None for weight in ours.teacher.model.parameters())


def test_both_heads_multiply_trained_positions_only(make_trainer: Any) -> None:
    trainer = make_trainer(False, 0.0)
    rows = rows_with_prompts()
    seen: list[int] = []
    for model in (trainer.model, trainer.teacher.model):
        model.lm_head.register_forward_hook(lambda m, a, out: seen.append(out.shape[0]))
    trainer.model.train()
    trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    trained = sum(label != -100 for row in rows for label in row["labels"][1:])
    assert seen == [trained, trained]


def test_evaluation_is_the_mean_over_tokens_and_names_the_kl(make_trainer: Any) -> None:
    trainer = make_trainer(True, 0.5)
    trainer.args.per_device_eval_batch_size = 3
    metrics = trainer.evaluate()
    trainer.model.eval()
    with torch.no_grad():
        whole = trainer.compute_loss(trainer.model, trainer.data_collator(rows_with_prompts()))
    assert metrics["eval_loss"] == pytest.approx(whole.item(), rel=1e-5)
    assert metrics["eval_kl"] > metrics["eval_loss"] > 0
