"""The loss is transformers' own, whatever the layout of the micro-batch; rows stay apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.training import attention
from engine.training.collate import EndToEnd, Padded
from engine.training.dataset import EpochSampler, to_dataset

PREFIX = [5, 6, 7, 8, 9]


def rows_with(*lengths: int, prefix: list[int] | None = None, seed: int = 0) -> list[dict]:
    """Random rows; the first third of each is prompt."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        ids = torch.randint(3, 250, (length,), generator=generator).tolist()
        ids[: len(prefix or [])] = prefix or []
        prompt = max(len(prefix or []), length // 3)
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return rows


def load(folder: Path, attention_name: str = "sdpa") -> Any:
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention_name
    )


def hf_loss(model: Any, rows: list[dict], count: int) -> torch.Tensor:
    """Plain transformers: padded, full logits, its own loss over `count` tokens."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([r["input_ids"] + [0] * (longest - len(r["input_ids"])) for r in rows])
    labels = torch.tensor([r["labels"] + [-100] * (longest - len(r["labels"])) for r in rows])
    mask = torch.tensor(
        [[1] * len(r["input_ids"]) + [0] * (longest - len(r["input_ids"])) for r in rows]
    )
    out = model(
        input_ids=ids,
        attention_mask=mask,
        labels=labels,
        num_items_in_batch=torch.tensor(count),
        use_cache=False,
    )
    return out.loss


FORMS = {
    "padded": (Padded(0), "sdpa"),
    "padded eager": (Padded(0), "eager"),
    "end to end, own attention": (EndToEnd(share_prefix=False), attention.NAME),
    "end to end, shared prefix": (EndToEnd(), attention.NAME),
    "end to end by position, sdpa": (EndToEnd(by_rows=False), "sdpa"),
    "end to end by position, eager": (EndToEnd(by_rows=False), "eager"),
}


@pytest.fixture
def make_trainer(model_folder: Path, tmp_path: Path, make_config, make_session):
    """A trainer over given rows, with a chosen form, that computes losses on demand."""

    def make(form: str, rows: list[dict], **changes: Any) -> Any:
        from trl import SFTConfig

        from engine.models import choose_precision, load_tokenizer
        from engine.training.arguments import training_arguments
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.stages.sft import SFT_ARGUMENTS
        from engine.training.stop import Gate
        from engine.training.trainer import SftTrainer

        attention.register()
        collator, name = FORMS[form]
        config = make_config(finetuning_type="full", **changes)
        session, _ = make_session(tmp_path)
        precision = choose_precision(config, "cpu")
        return SftTrainer(
            model=load(model_folder, name),
            args=training_arguments(
                SFTConfig, config, tmp_path, precision, "cpu", False, **SFT_ARGUMENTS
            ),
            data_collator=collator,
            train_dataset=to_dataset(rows),
            eval_dataset=to_dataset(rows),
            processing_class=load_tokenizer(model_folder),
            gate=Gate(session),
            writer=CheckpointWriter(tmp_path, session, keep=None, threads=1, elapsed=lambda: 0.0),
            measure_accuracy=True,
        )

    return make


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", [None, PREFIX])
def test_loss_and_gradients_equal_plain_transformers(
    form: str, prefix: list[int] | None, make_trainer, model_folder: Path
) -> None:
    rows = rows_with(24, 9, 40, 17, prefix=prefix)
    trainer = make_trainer(form, rows)
    trained = sum(label != -100 for row in rows for label in row["labels"][1:])
    plain = load(model_folder)
    expected = hf_loss(plain, rows, trained)
    expected.backward()
    batch = trainer.data_collator(rows)
    assert int((batch["shift_labels"] != -100).sum()) == trained
    assert batch["tokens"] == 24 + 9 + 40 + 17
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(trained))
    loss.backward()
    assert abs(loss.item() - expected.item()) < 1e-5
    ours = dict(trainer.model.named_parameters())
    for name, weight in plain.named_parameters():
        assert torch.allclose(ours[name].grad, weight.grad, atol=1e-5), name


def test_shared_prefix_is_laid_down_once() -> None:
    rows = rows_with(24, 9, 40, prefix=PREFIX)
    batch = EndToEnd()(rows)
    # The prefix's last token predicts a trained one that differs, so each row keeps its own.
    assert batch["input_ids"].shape[1] == 24 + 9 + 40 - 2 * (len(PREFIX) - 1)
    alone = EndToEnd(share_prefix=False)(rows)
    assert alone["input_ids"].shape[1] == 24 + 9 + 40


def test_a_trained_prefix_is_not_shared() -> None:
    rows = [{"input_ids": [*PREFIX, 20 + i], "labels": [*PREFIX, 20 + i]} for i in range(3)]
    assert EndToEnd()(rows)["input_ids"].shape[1] == 18


def test_equal_rows_keep_a_token_of_their_own() -> None:
    row = {"input_ids": [4, 5, 6, 7], "labels": [-100, -100, -100, 7]}
    batch = EndToEnd()([row, dict(row)])
    assert int((batch["shift_labels"] == 7).sum()) == 2


@pytest.mark.parametrize("form", [name for name in FORMS if name.startswith("end")])
def test_no_row_sees_another(form: str, model_folder: Path) -> None:
    """Logits of a row are the same alone and beside others, and don't move with the others."""
    attention.register()
    collator, name = FORMS[form]
    model = load(model_folder, name).eval()
    rows = rows_with(12, 30, 21)
    changed = [rows[0], *rows_with(30, 21, seed=7)]

    def first_row(batch_rows: list[dict]) -> torch.Tensor:
        batch = collator(batch_rows)
        inputs = {k: v for k, v in batch.items() if k not in ("labels", "shift_labels", "tokens")}
        with torch.no_grad():
            return model(**inputs, use_cache=False).logits[0, :12]

    def last_row(batch_rows: list[dict]) -> torch.Tensor:
        batch = collator(batch_rows)
        inputs = {k: v for k, v in batch.items() if k not in ("labels", "shift_labels", "tokens")}
        with torch.no_grad():
            return model(**inputs, use_cache=False).logits[0, -21:]

    alone = first_row([rows[0]])
    assert (first_row(rows) - alone).abs().max() < 1e-5
    assert (first_row(changed) - first_row(rows)).abs().max() < 1e-5
    assert (last_row(rows) - last_row([rows[2]])).abs().max() < 1e-5


def test_head_multiplies_trained_positions_only(make_trainer) -> None:
    rows = rows_with(24, 9)
    trainer = make_trainer("padded", rows)
    seen = []
    hook = trainer.model.lm_head.register_forward_hook(lambda m, a, out: seen.append(out.shape[0]))
    trainer.model.train()
    trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    hook.remove()
    assert seen == [sum(label != -100 for row in rows for label in row["labels"][1:])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_training_equals_transformers_trainer_with_accumulation(
    smoothing: float, make_trainer, model_folder: Path, tmp_path: Path
) -> None:
    """Three steps of transformers' own Trainer in the same order give the same losses."""
    from transformers import Trainer, TrainingArguments

    rows = rows_with(24, 9, 40, 17, 12, 33, 20, 8)
    settings = {"label_smoothing_factor": smoothing, "num_train_epochs": 2, "seed": 3}
    ours = make_trainer("end to end, shared prefix", rows, disable_shuffling=True, **settings)
    ours._order = "sequential"
    ours.train()

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    def pad(batch: list[dict]) -> dict:
        longest = max(len(r["input_ids"]) for r in batch)
        fill = [longest - len(r["input_ids"]) for r in batch]
        return {
            "input_ids": torch.tensor(
                [r["input_ids"] + [0] * n for r, n in zip(batch, fill, strict=True)]
            ),
            "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in fill]),
            "labels": torch.tensor(
                [r["labels"] + [-100] * n for r, n in zip(batch, fill, strict=True)]
            ),
        }

    theirs = InOrder(
        model=load(model_folder),
        args=TrainingArguments(
            output_dir=str(tmp_path / "hf"),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            **settings,
        ),
        train_dataset=copy.deepcopy(rows),
        data_collator=pad,
    )
    theirs.train()
    losses = [[x["loss"] for x in t.state.log_history if "loss" in x] for t in (ours, theirs)]
    norms = [[x["grad_norm"] for x in t.state.log_history if "loss" in x] for t in (ours, theirs)]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_eval_loss_is_the_mean_over_trained_tokens(make_trainer, model_folder: Path) -> None:
    rows = rows_with(24, 9, 40, 17, 12)
    trainer = make_trainer("end to end, shared prefix", rows, per_device_eval_batch_size=2)
    metrics = trainer.evaluate()
    trained = sum(label != -100 for row in rows for label in row["labels"][1:])
    plain = load(model_folder).eval()
    with torch.no_grad():
        expected = hf_loss(plain, rows, trained).item()
    assert abs(metrics["eval_loss"] - expected) < 1e-5
    assert 0.0 <= metrics["eval_accuracy"] <= 1.0


def test_evaluation_leaves_the_random_numbers_alone(make_trainer) -> None:
    trainer = make_trainer("padded", rows_with(24, 9))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trainer.evaluate()
    assert torch.equal(torch.rand(3), expected)


def test_a_batch_without_trained_tokens_gives_zero(make_trainer) -> None:
    rows = [{"input_ids": [4, 5, 6], "labels": [-100] * 3}]
    trainer = make_trainer("padded", rows)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_order_visits_each_row_once_and_follows_the_seed(strategy: Any) -> None:
    lengths = [(i * 37) % 50 + 1 for i in range(103)]
    sampler = EpochSampler(lengths, strategy, seed=1, step=8)
    first = sampler.order(0)
    assert sorted(first) == list(range(103))
    assert first == EpochSampler(lengths, strategy, seed=1, step=8).order(0)
    if strategy != "sequential":
        assert first != sampler.order(1)
        assert first != EpochSampler(lengths, strategy, seed=2, step=8).order(0)


def test_grouping_puts_like_lengths_together() -> None:
    lengths = [(i * 37) % 50 + 1 for i in range(103)]

    def waste(order: list[int]) -> int:
        steps = [[lengths[i] for i in order[b : b + 8]] for b in range(0, len(order), 8)]
        return sum(max(step) * len(step) - sum(step) for step in steps)

    grouped = EpochSampler(lengths, "group_by_length", seed=1, step=8).order(0)
    shuffled = EpochSampler(lengths, "random", seed=1, step=8).order(0)
    assert waste(grouped) * 4 < waste(shuffled)
    assert max(lengths) == lengths[grouped[0]]
