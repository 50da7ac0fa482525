"""Each preference loss is TRL's own, and kto_pair its formula, on the same tiny batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.models import load_tokenizer
from engine.training import attention
from engine.training.dataset import to_dataset
from engine.training.losses import preference as losses
from engine.training.losses.preference import Preference
from engine.training.pair_batches import PaddedPairs, SharedPrompts
from engine.training.pairs import PairTrainer
from engine.training.references import Reference

FORMS = {"padded": PaddedPairs, "shared prompts": SharedPrompts}


def some_pairs(*sizes: tuple[int, int, int]) -> list[dict[str, list[int]]]:
    """Random pairs with prompts and answers of these lengths."""
    generator = torch.Generator().manual_seed(3)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [
        {
            name: torch.randint(3, 250, (size,), generator=generator).tolist()
            for name, size in zip(names, row, strict=True)
        }
        for row in sizes
    ]


ROWS = some_pairs((9, 5, 12), (3, 8, 2), (14, 4, 4), (1, 6, 7))


def load(folder: Path, seed: int, attention_name: str = "sdpa") -> Any:
    """The tiny model, its weights moved a little by `seed`, so that policy and reference differ."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention_name
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture
def make_ours(model_folder: Path, tmp_path: Path, make_config, make_session):
    def make(form: str, preference: Preference, **more: Any) -> PairTrainer:
        from trl import DPOConfig

        from engine.models import choose_precision
        from engine.training.arguments import training_arguments
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.stop import Gate

        attention.register()
        name = attention.NAME if form == "shared prompts" else "sdpa"
        config = make_config(finetuning_type="full")
        session, _ = make_session(tmp_path)
        precision = choose_precision(config, "cpu")
        tokenizer = load_tokenizer(model_folder)
        reference = Reference(model=load(model_folder, 2, name).eval().requires_grad_(False))
        collate = FORMS[form]
        options = {"pad_id": tokenizer.pad_token_id} if collate is PaddedPairs else {}
        return PairTrainer(
            model=load(model_folder, 1, name),
            args=training_arguments(DPOConfig, config, tmp_path, precision, "cpu", False),
            train_dataset=to_dataset(ROWS),
            eval_dataset=to_dataset(ROWS),
            processing_class=tokenizer,
            gate=Gate(session),
            writer=CheckpointWriter(tmp_path, session, keep=None, threads=1, elapsed=lambda: 0.0),
            collate=collate(**options, with_prompt=preference.learns_prompt),
            preference=preference,
            reference=reference if preference.needs_reference else None,
            **more,
        )

    return make


def computed(
    trainer: PairTrainer, rows: list[dict] = ROWS
) -> tuple[float, dict[str, float], dict[str, torch.Tensor]]:
    """Loss, logged measures, and gradients of the rows."""
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    measured = {name: sum(v) / len(v) for name, v in trainer._metrics["train"].items()}
    return loss.item(), measured, gradients(trainer.model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def check(ours: tuple, loss: float, measures: dict[str, float], grads: dict) -> None:
    assert ours[0] == pytest.approx(loss, abs=1e-5)
    for name, value in ours[1].items():
        assert value == pytest.approx(measures[name], abs=1e-5), name
    assert ours[2].keys() == grads.keys()
    for name, grad in grads.items():
        assert torch.allclose(ours[2][name], grad, atol=1e-5), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("preference", "theirs"),
    [
        (Preference("sigmoid"), {"loss_type": ["sigmoid"]}),
        (Preference("hinge", beta=0.3), {"loss_type": ["hinge"], "beta": 0.3}),
        (Preference("ipo"), {"loss_type": ["ipo"]}),
        (
            Preference("robust", smoothing=0.2),
            {"loss_type": ["robust"], "label_smoothing": 0.2},
        ),
        (Preference("sigmoid", ld_alpha=0.4), {"loss_type": ["sigmoid"], "ld_alpha": 0.4}),
        (
            Preference("sigmoid", sft_weight=0.7, bco_weight=0.3),
            {
                "loss_type": ["sigmoid", "sft", "bco_pair"],
                "loss_weights": [1.0, 0.7, 0.3],
            },
        ),
    ],
    ids=["sigmoid", "hinge", "ipo", "robust", "ld_alpha", "with sft and bco"],
)
def test_dpo_losses_are_trls(
    form: str, preference: Preference, theirs: dict, make_ours, model_folder: Path, tmp_path: Path
) -> None:
    import trl

    class Plain(trl.DPOTrainer):  # TRL's, for rows that are tokens already
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    plain = Plain(
        model=load(model_folder, 1),
        ref_model=load(model_folder, 2),
        args=trl.DPOConfig(
            str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none", **theirs
        ),
        train_dataset=to_dataset(ROWS),
        processing_class=load_tokenizer(model_folder),
    )
    plain.model.train()
    loss = plain.compute_loss(plain.model, plain.data_collator(ROWS))
    loss.backward()
    measures = {name: sum(v) / len(v) for name, v in plain._metrics["train"].items()}
    ours = computed(make_ours(form, preference))
    if preference.sft_weight:
        ours[1].pop("nll_loss")  # TRL does not log it here
    check(ours, loss.item(), measures, gradients(plain.model))
    assert {"rewards/margins", "rewards/accuracies", "logps/chosen"} <= ours[1].keys()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("preference", "theirs"),
    [
        (Preference("orpo", beta=0.2), {"beta": 0.2}),
        (Preference("simpo", beta=2.0, gamma=0.8), {"beta": 2.0, "simpo_gamma": 0.8}),
        (
            Preference("simpo", beta=2.0, gamma=0.8, sft_weight=0.5),
            {"beta": 2.0, "simpo_gamma": 0.8, "cpo_alpha": 0.5},
        ),
    ],
    ids=["orpo", "simpo", "simpo with sft"],
)
def test_losses_without_a_reference_are_trls(
    form: str, preference: Preference, theirs: dict, make_ours, model_folder: Path, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    if preference.loss == "orpo":
        trainer_class, config_class, extra = ORPOTrainer, ORPOConfig, {}
    else:
        trainer_class, config_class = CPOTrainer, CPOConfig
        extra = {"loss_type": "simpo", "cpo_alpha": 0.0}
    text = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    plain = trainer_class(
        model=load(model_folder, 1),
        args=config_class(
            str(tmp_path / "trl"),
            use_cpu=True,
            bf16=False,
            report_to="none",
            remove_unused_columns=False,
            **(extra | theirs),
        ),
        train_dataset=text,
        processing_class=load_tokenizer(model_folder),
    )
    plain.model.train()
    loss, measures = plain.get_batch_loss_metrics(plain.model, as_orpo_takes_it(ROWS))
    loss.backward()
    ours = make_ours(form, preference)
    assert ours.ref_model is None and ours.reference is None
    check(computed(ours), loss.item(), measures, gradients(plain.model))


def test_the_balance_of_experts_is_trls(
    make_ours, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixture of experts: padded, with the load-balancing loss of the policy added."""
    import trl
    from transformers import MixtralConfig, MixtralForCausalLM

    def experts(folder: Path, seed: int, *_: Any) -> Any:
        torch.manual_seed(seed)
        return MixtralForCausalLM(
            MixtralConfig(
                vocab_size=300,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                num_local_experts=4,
                router_aux_loss_coef=0.2,
                pad_token_id=0,
            )
        )

    class Plain(trl.DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    plain = Plain(
        model=experts(model_folder, 1),
        ref_model=experts(model_folder, 2),
        args=trl.DPOConfig(str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none"),
        train_dataset=to_dataset(ROWS),
        processing_class=load_tokenizer(model_folder),
    )
    plain.model.train()
    loss = plain.compute_loss(plain.model, plain.data_collator(ROWS))
    loss.backward()
    monkeypatch.setattr(f"{__name__}.load", experts)
    measures = {name: sum(v) / len(v) for name, v in plain._metrics["train"].items()}
    ours = computed(make_ours("padded", Preference("sigmoid")))
    assert ours[1]["aux_loss"] > 0
    check(ours, loss.item(), measures, gradients(plain.model))


def as_orpo_takes_it(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """The batch that the collator of TRL's ORPO and CPO trainers makes of encoded rows."""
    batch: dict[str, torch.Tensor] = {}
    for name in ("chosen", "rejected"):
        whole = [row["prompt_ids"] + row[f"{name}_ids"] for row in rows]
        longest = max(len(ids) for ids in whole)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for line, (row, sequence) in enumerate(zip(rows, whole, strict=True)):
            ids[line, : len(sequence)] = torch.tensor(sequence)
            mask[line, : len(sequence)] = 1
            prompt = len(row["prompt_ids"])
            labels[line, prompt : len(sequence)] = torch.tensor(row[f"{name}_ids"])
        batch |= {
            f"{name}_input_ids": ids,
            f"{name}_attention_mask": mask,
            f"{name}_labels": labels,
        }
    return batch


@pytest.mark.parametrize("rows", [ROWS[2:], ROWS[:2]], ids=["KL of chosen", "KL of rejected"])
def test_kto_pair_is_its_formula(rows: list[dict], make_ours, model_folder: Path) -> None:
    """1 - sigmoid(beta * (log-ratio - KL)), the KL from the other half, written out in numpy."""
    policy, before = load(model_folder, 1).eval(), load(model_folder, 2).eval()

    def ratio(row: dict[str, list[int]], name: str) -> float:
        ids, prompt = row["prompt_ids"] + row[name], len(row["prompt_ids"])
        total = 0.0
        for model, sign in ((policy, 1.0), (before, -1.0)):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].double().numpy()
            shifted = logits - logits.max(axis=1, keepdims=True)
            logs = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
            total += sign * sum(logs[i - 1, ids[i]] for i in range(prompt, len(ids)))
        return total

    chosen = numpy.array([ratio(row, "chosen_ids") for row in rows])
    rejected = numpy.array([ratio(row, "rejected_ids") for row in rows])
    kl_chosen, kl_rejected = max(chosen.mean(), 0.0), max(rejected.mean(), 0.0)
    assert (kl_chosen > 0) != (kl_rejected > 0)  # one is clamped in each of the two cases
    beta = 0.3
    terms = [
        *(1 - 1 / (1 + numpy.exp(-beta * (chosen - kl_rejected)))),
        *(1 - 1 / (1 + numpy.exp(-beta * (kl_chosen - rejected)))),
    ]
    loss, measures, _ = computed(make_ours("padded", Preference("kto_pair", beta=beta)), rows)
    assert loss == pytest.approx(numpy.mean(terms), abs=1e-5)
    assert measures["rewards/margins"] == pytest.approx(beta * (chosen - rejected).mean(), abs=1e-5)


def test_kto_pair_has_no_gradient_through_the_kl() -> None:
    chosen = torch.tensor([0.7, 0.1], requires_grad=True)
    rejected = torch.tensor([0.2, 0.5], requires_grad=True)
    losses.kto_pair_loss(chosen, rejected, 0.5).mean().backward()
    for side, sign, other in ((chosen, -1, 0.35), (rejected, 1, 0.4)):
        s = torch.sigmoid(0.5 * sign * (other - side.detach()))
        slope = sign * 0.5 * s * (1 - s) / 4
        assert torch.allclose(side.grad, slope, atol=1e-6)


def test_smoothing_in_sigmoid_is_conservative_dpo() -> None:
    from trl.experimental.cpo import CPOTrainer

    class Settings:  # what CPOTrainer.cpo_loss reads of its trainer
        alpha, loss_type, beta, label_smoothing = 0.0, "sigmoid", 0.4, 0.15

        class accelerator:
            device = "cpu"

    chosen, rejected = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, -3.0, 2.5])
    expected, _, _ = CPOTrainer.cpo_loss(Settings(), chosen, rejected)
    assert torch.allclose(losses.sigmoid_loss(chosen, rejected, 0.4, 0.15), expected)


def test_both_forms_say_the_same_of_a_prompt_and_of_none() -> None:
    """Positions and targets, by hand: the first token of all is predicted by none."""
    rows = [
        {"prompt_ids": [5, 6], "chosen_ids": [7], "rejected_ids": [8, 9]},
        {"prompt_ids": [], "chosen_ids": [4, 3], "rejected_ids": [3, 4, 5]},
    ]
    padded, shared = PaddedPairs(0, with_prompt=True)(rows), SharedPrompts(with_prompt=True)(rows)
    assert shared["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4, 3, 3, 4, 5]]
    assert shared["position_ids"].tolist() == [[0, 1, 2, 2, 3, 0, 1, 0, 1, 2]]
    assert padded["positions"].tolist() == [1, 4, 9, 10, 12, 13, 0]
    #                                       7  3  8  9  4   5  (6 of the prompt)
    assert shared["positions"].tolist() == [1, 5, 1, 3, 7, 8, 0]
    for batch in (padded, shared):
        assert batch["targets"].tolist() == [7, 3, 8, 9, 4, 5, 6]
        assert batch["lengths"].tolist() == [[1, 2], [1, 2]]
        assert batch["answered"].tolist() == [[True, False]] * 2 + [[True, True]] * 2
        assert (batch["tokens"], batch["answer_tokens"]) == (12, 6)


def test_dropout_and_noise_never_reach_the_reference(model_folder: Path) -> None:
    """A new adapter's reference is the base alone, and the policy comes back as it was."""
    from peft import LoraConfig, get_peft_model

    base = load(model_folder, 1)
    ids = torch.tensor([ROWS[0]["prompt_ids"]])
    expected = copy.deepcopy(base).eval()(ids).logits
    policy = get_peft_model(
        base, LoraConfig(target_modules="all-linear", lora_dropout=0.5, init_lora_weights=False)
    )
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    policy.train()
    with Reference().of(policy) as before:
        got = before(ids).logits
    assert torch.equal(got, expected) and not got.requires_grad
    assert policy.training
    assert [n for n, p in policy.named_parameters() if p.requires_grad] == trained
    assert not torch.equal(policy(ids).logits, expected)
