"""KTO: its loss is TRL's, it separates what people liked from what they did not, and it resumes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.events import Evaluated, StepLogged
from engine.training import run_training
from engine.training.stop import Gate
from tests.engine.training.stopping import stopped_at

GOOD = ["red", "green", "blue", "sun", "moon", "star"]
BAD = ["one", "two", "three", "day", "night", "rain"]
METHODS = {
    "lora": {"finetuning_type": "lora"},
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "freeze": {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def feedback_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers that name things are liked, those that name numbers and times are not."""
    draw = random.Random(1)

    def words(of: list[str]) -> str:
        return " ".join(draw.choice(of) for _ in range(draw.randint(1, 3)))

    folder = tmp_path_factory.mktemp("feedback")
    registry = {}
    for name, count in (("feedback", 64), ("few", 13), ("held", 24)):
        rows = []
        for place in range(count):
            liked = place % 2 == 0
            answer = words(GOOD if liked else BAD)
            rows.append({"q": f"say {words(GOOD + BAD)}", "a": answer, "liked": liked})
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        columns = {"prompt": "q", "response": "a", "kto_tag": "liked"}
        registry[name] = {"file_name": f"{name}.json", "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return folder


@pytest.fixture
def kto_config(make_config: Any, feedback_folder: Path) -> Any:
    def make(**changes: Any) -> Any:
        flat = {
            "stage": "kto",
            "dataset": "few",
            "dataset_dir": str(feedback_folder),
            "num_train_epochs": 1,
            "lora_dropout": 0.0,
        }
        return make_config(**flat | changes)

    return make


def test_it_separates_desirable_from_undesirable(
    kto_config: Any, make_session: Any, tmp_path: Path
) -> None:
    config = kto_config(
        dataset="feedback",
        eval_dataset="held",
        eval_strategy="epoch",
        eval_on_start=True,
        num_train_epochs=6,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        per_device_eval_batch_size=8,
        pref_beta=0.2,
    )
    session, heard = make_session(tmp_path / "run")
    run_training(config, session)
    found = [(e.step, {k: round(v, 3) for k, v in e.metrics.items()}) for e in heard.of(Evaluated)]
    print(*found, sep="\n")
    before, after = found[0][1], found[-1][1]
    assert before["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert after["rewards/margins"] > 1.0
    assert after["rewards/chosen"] > 0 > after["rewards/rejected"]
    logged = heard.of(StepLogged)[-1].watched
    names = {"kl", "rewards/chosen", "rewards/rejected", "rewards/margins"}
    assert names | {"logps/chosen", "logps/rejected"} <= set(logged)


def test_the_loss_is_that_of_trl(kto_config: Any, make_session: Any, tmp_path: Path) -> None:
    """One micro-batch of eight rows, the policy some steps away from its reference."""
    from trl import KTOConfig, KTOTrainer

    from engine.models import load_model, load_tokenizer
    from engine.models.precision import Precision

    base = kto_config(finetuning_type="full")
    folder = Path(base.model_name_or_path)
    precision = Precision("fp32", "fp32", None, "fp32")

    def model(moved: bool) -> Any:
        loaded: Any = load_model(folder, base, precision, "cpu", True)
        if moved:
            torch.manual_seed(5)
            with torch.no_grad():
                for weight in loaded.parameters():
                    weight += 0.05 * torch.randn_like(weight)
        return loaded

    draw = random.Random(2)
    rows = [
        {
            "prompt_ids": [draw.randrange(3, 200) for _ in range(draw.randint(3, 9))],
            "completion_ids": [draw.randrange(3, 200) for _ in range(draw.randint(2, 7))],
            "label": place % 3 != 0,
        }
        for place in range(8)
    ]

    import datasets

    class Plain(KTOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    answers = [row["completion_ids"] for row in rows]
    for row, other in zip(rows, [answers[-1], *answers[:-1]], strict=True):
        row["KL_completion_ids"] = other
    tokenizer = load_tokenizer(folder)
    theirs = Plain(
        model=model(True),
        ref_model=model(False),
        args=KTOConfig(
            str(tmp_path / "trl"),
            use_cpu=True,
            bf16=False,
            beta=0.3,
            desirable_weight=1.5,
            undesirable_weight=0.7,
            max_length=None,
            per_device_train_batch_size=8,
            report_to="none",
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    expected = theirs.compute_loss(theirs.model, theirs.data_collator(rows))
    measured = {name: values[-1] for name, values in theirs._metrics["eval"].items()}

    from engine.training.collate import EndToEnd, Padded
    from engine.training.feedback import FeedbackRows, FeedbackTrainer, Kto
    from engine.training.references import Reference

    for form in (Padded(tokenizer.pad_token_id), EndToEnd()):
        policy, reference = model(True), model(False)
        if isinstance(form, EndToEnd):
            from engine.training import attention

            for one in (policy, reference):
                one.set_attn_implementation(attention.register())
        session, _ = make_session(tmp_path / "ours")
        ours = FeedbackTrainer(
            model=policy,
            collate=FeedbackRows(form, 256),
            loss=Kto(beta=0.3, desirable=1.5, undesirable=0.7),
            reference=Reference(model=reference),
            gate=Gate(session),
            writer=None,  # type: ignore[arg-type]
            args=KTOConfig(
                str(tmp_path / "ours"),
                use_cpu=True,
                bf16=False,
                max_length=None,
                loss_type="apo_zero_unpaired",
                report_to="none",
            ),
            train_dataset=datasets.Dataset.from_list(rows).add_column("length", [16] * 8),
            processing_class=tokenizer,
        )
        loss = ours.compute_loss(ours.model, ours.data_collator(rows))
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        logs: dict[str, float] = {}
        ours.log(logs)
        for name in ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins"):
            assert logs[f"eval_{name}"] == pytest.approx(measured[name], abs=1e-4), name
        for name in ("logps/chosen", "logps/rejected"):
            assert logs[f"eval_{name}"] == pytest.approx(measured[name], rel=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_every_method_and_precision_trains_saves_and_answers(
    method: str,
    kind: str,
    kto_config: Any,
    make_session: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.chat import Chatter
    from engine.datasets.example import Message
    from engine.models import precision

    # bf16 is emulated where the processor has none, which is slow and right.
    monkeypatch.setattr(precision, "bf16_in_hardware", lambda device: True)
    run = tmp_path / "run"
    session, heard = make_session(run)
    run_training(kto_config(**METHODS[method], bf16=kind == "bf16", pref_ftx=0.5), session)
    assert len(heard.of(StepLogged)) >= 3
    config = kto_config(
        dataset=None,
        do_train=False,
        adapter_name_or_path=str(run),
        infer_dtype="float32",
        max_new_tokens=4,
    )
    session, _ = make_session(tmp_path / "chat")
    answer = Chatter(config, session).answer(
        [Message("user", "say sun")], None, config, session.publish
    )
    assert answer["tokens"] >= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("look", [4, pytest.param(5, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_bit_for_bit(
    method: str, look: int, kto_config: Any, make_session: Any, tmp_path: Path
) -> None:
    settings = METHODS[method] | {"logging_steps": 2}
    config = kto_config(**settings)

    def outcome(run: Path, heard: list[Any]) -> tuple[dict, dict]:
        lines = {}
        for listener in heard:
            for e in listener.of(StepLogged):
                lines[e.step] = (e.loss, e.grad_norm, tuple(sorted(e.watched.items())))
        return lines, {file.name: file.read_bytes() for file in run.glob("*model.safetensors")}

    session, heard = make_session(tmp_path / "whole")
    run_training(config, session)
    expected = outcome(tmp_path / "whole", [heard])

    run = tmp_path / "stopped"
    session, first = make_session(run)
    with stopped_at(look):
        run_training(config, session)
    session, second = make_session(run)
    run_training(kto_config(**settings, resume_from_checkpoint=True), session)
    assert outcome(run, [first, second]) == expected


def test_one_row_borrows_its_neighbours_answer() -> None:
    import datasets

    from engine.training.collate import Padded
    from engine.training.feedback import FeedbackRows, with_neighbours

    rows = datasets.Dataset.from_list(
        [
            {"prompt_ids": [1, 2], "completion_ids": [10 + i] * (i + 1), "label": True}
            for i in (0, 1, 2)
        ]
    )
    held = with_neighbours(rows)
    assert held["neighbour_ids"][:] == [[12, 12, 12], [10], [11, 11]]
    batch = FeedbackRows(Padded(0), 4)([held[0]])
    # Cut, so that prompt and borrowed answer are no longer than the longest row.
    assert batch["others"]["input_ids"].tolist() == [[1, 2, 12, 12]]
    both = FeedbackRows(Padded(0), 9)([held[0], held[1]])
    assert both["others"]["input_ids"].tolist() == [[1, 2, 11, 11], [1, 2, 10, 0]]
    assert both["answers"]["row_of_token"].tolist() == [0, 1, 1]


def test_each_rows_loss_is_the_papers() -> None:
    from engine.training.feedback import Kto

    ratios = torch.tensor([0.5, -1.0, 2.0])
    liked = torch.tensor([True, False, True])
    found = Kto(beta=0.4, desirable=2.0, undesirable=3.0).losses(ratios, liked, torch.tensor(0.2))
    expected = [
        2 * (1 - 1 / (1 + torch.e ** -(0.4 * 0.3))),
        3 * (1 - 1 / (1 + torch.e ** -(0.4 * 1.2))),
        2 * (1 - 1 / (1 + torch.e ** -(0.4 * 1.8))),
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
