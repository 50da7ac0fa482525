"""The steps of a run are the Hugging Face trainer's own count."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import Steps, defaults_for_form, read_flat, steps_of


def test_the_pictured_run() -> None:
    assert steps_of(1091, defaults_for_form()) == Steps(137, 685, 69, 8)


def test_no_rows_no_steps() -> None:
    assert steps_of(0, defaults_for_form()) == Steps(0, 0, 0, 8)


@pytest.mark.parametrize(
    ("change", "rows", "expected"),
    [
        ({}, 10, Steps(3, 9, 0, 4)),
        ({"num_train_epochs": 0.5}, 10, Steps(3, 2, 0, 4)),
        ({"max_steps": 7}, 10, Steps(3, 7, 0, 4)),
        ({"warmup_ratio": 0.1}, 10, Steps(3, 9, 1, 4)),
        ({"warmup_ratio": 0.1, "warmup_steps": 4}, 10, Steps(3, 9, 4, 4)),
        ({"warmup_ratio": 0.1, "lr_scheduler_type": "constant"}, 10, Steps(3, 9, 0, 4)),
        ({"dataloader_drop_last": True}, 11, Steps(3, 9, 0, 4)),
        ({}, 1, Steps(1, 3, 0, 4)),
    ],
)
def test_steps(change: dict[str, Any], rows: int, expected: Steps) -> None:
    flat = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, **change}
    assert steps_of(rows, read_flat(flat).config) == expected


@pytest.mark.parametrize(
    ("change", "rows", "expected"),
    [
        # 8 answers an update: 2 prompts, 4 answers each; the last round is filled up.
        ({"stage": "grpo", "num_generations": 4}, 9, Steps(5, 15, 0, 2)),
        ({"stage": "rloo", "num_generations": 8}, 9, Steps(9, 27, 0, 1)),
        ({"stage": "ppo"}, 17, Steps(3, 9, 0, 8)),
        ({"stage": "ppo", "ppo_buffer_size": 2}, 17, Steps(2, 6, 0, 16)),
        ({"stage": "dpo"}, 17, Steps(3, 9, 0, 8)),
    ],
)
def test_steps_of_stages_that_write_answers(
    change: dict[str, Any], rows: int, expected: Steps
) -> None:
    flat = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, **change}
    assert steps_of(rows, read_flat(flat).config) == expected


@pytest.mark.slow
def test_a_group_trainers_rounds_are_counted_the_same() -> None:
    from engine.training.dataset import EpochSampler
    from engine.training.groups.order import GroupSampler

    for rows in (1, 2, 9, 124):
        for answers in (2, 4, 8):
            values = {"stage": "grpo", "num_generations": answers, "gradient_accumulation_steps": 2}
            config = read_flat({**values, "per_device_train_batch_size": 4}).config
            order = EpochSampler([1] * rows, "random", 42, 8 // answers)
            rounds = GroupSampler(order, 8 // answers, answers, 2).rounds
            assert steps_of(rows, config).per_epoch == rounds


def test_several_devices_share_the_rows() -> None:
    config = read_flat({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}).config
    assert steps_of(17, config, devices=2) == Steps(3, 9, 0, 8)


@pytest.mark.slow
def test_the_real_trainer_counts_the_same(tmp_path: Any) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"x": torch.zeros(1)}

    for rows in (1, 8, 91, 1091):
        for micro, accumulation in ((1, 1), (4, 2), (8, 3)):
            for epochs, max_steps in ((0.3, -1), (2.5, -1), (3.0, 11)):
                for warmup in ({"warmup_ratio": 0.1}, {"warmup_steps": 5}):
                    config = read_flat(
                        {
                            "per_device_train_batch_size": micro,
                            "gradient_accumulation_steps": accumulation,
                            "num_train_epochs": epochs,
                            "max_steps": max_steps,
                            "dataloader_drop_last": rows == 91,
                            **warmup,
                        }
                    ).config
                    arguments = TrainingArguments(
                        output_dir=str(tmp_path),
                        use_cpu=True,
                        per_device_train_batch_size=micro,
                        gradient_accumulation_steps=accumulation,
                        num_train_epochs=epochs,
                        max_steps=max_steps,
                        warmup_steps=config.warmup,
                        **config.passed_on,
                    )
                    trainer = Trainer(torch.nn.Linear(1, 1), arguments, train_dataset=Rows(rows))
                    loader = trainer.get_train_dataloader()
                    said = trainer.set_initial_training_values(arguments, loader)
                    ours = steps_of(rows, config)
                    assert (ours.per_epoch, ours.effective_batch, ours.total) == (
                        said[1],
                        said[4],
                        said[6],
                    )
                    assert ours.warmup == arguments.get_warmup_steps(ours.total)
