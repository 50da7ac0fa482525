"""TRL's `DPOTrainer` with finetui's losses, layout of rows, reference, stops and checkpoints.

What differs from TRL's trainer:
- the head multiplies the answers' positions only, on every device (TRL 1.16 takes all positions
  where Triton does not run), and neither entropy, top-1 nor mean logits are computed;
- where the model allows it each prompt is computed once for both its answers
  (`engine.training.pair_batches`);
- more losses: kto_pair, ORPO, SimPO, label smoothing in sigmoid (`engine.training.losses`);
- the reference is `engine.training.references`' and none is held for ORPO and SimPO;
- measures are means over pairs, also where the last micro-batch is smaller.

Measured with `tests/benchmarks/training/preference.py` (demo, LoRA on all linear layers, fp32,
micro-batches of two bundled pairs, one thread of a busy AVX2 machine), tokens a CPU second and the
median of the paired ratios to TRL's trainer: TRL 35; padded 54 (1.59); shared prompts 83 (2.37);
SimPO, which computes no reference, 113.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from trl import DPOTrainer

from engine.models.head import forward_at
from engine.training.losses.preference import Preference, log_odds
from engine.training.pair_batches import OWN_KEYS, PairForm
from engine.training.references import Reference
from engine.training.run_trainer import RunTrainer


@dataclass(frozen=True)
class PairScores:
    """What a model says of a micro-batch: `answers` (2 * pairs,) log-probabilities of the answers,
    chosen ones first, as the loss counts them; `sft` the mean cross-entropy over the chosen tokens
    (and their prompts in ORPO), None where the loss has no use for it; `balance` the load-balancing
    loss of a mixture of experts, or None."""

    answers: torch.Tensor
    sft: torch.Tensor | None
    balance: torch.Tensor | None


class PairTrainer(RunTrainer, DPOTrainer):
    """Preference training of a decoder on pairs of answers.

    `preference` is the loss, `reference` what log-ratios are taken to (None for losses that need
    none). The datasets hold `prompt_ids`, `chosen_ids`, `rejected_ids`; `collate` is one of
    `engine.training.pair_batches`.
    """

    def __init__(
        self,
        *,
        model: Any,
        collate: PairForm,
        preference: Preference,
        reference: Reference | None,
        **kwargs: Any,
    ) -> None:
        if preference.needs_reference != (reference is not None):
            raise ValueError("a reference goes with the losses that need one, and only with them")
        self.preference = preference
        self.reference = reference
        super().__init__(
            model=model,
            ref_model=(reference or Reference()).for_trl(model),
            data_collator=collate,
            **kwargs,
        )
        # TRL has moved it to the device; what is left of it is in `reference`.
        self.ref_model = None

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # its rows are encoded already

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mode = "train" if self.model.training else "eval"
        lengths = inputs["lengths"]
        preference = self.preference
        start: torch.Tensor | float = 0.0
        if self.reference is not None:
            with self.reference.of(self.accelerator.unwrap_model(model)) as before:
                start = self._scores(before, inputs, policy=False).answers
        now = self._scores(model, inputs, policy=True)
        chosen, rejected = (now.answers - start).chunk(2)
        loss = preference.of(chosen, rejected, lengths).mean()
        if now.sft is not None:
            loss = loss + (float(preference.learns_prompt) + preference.sft_weight) * now.sft
        if now.balance is not None:
            loss = loss + self.router_aux_loss_coef * now.balance
        self._note(mode, now, chosen.detach(), rejected.detach())
        return (loss, None) if return_outputs else loss

    def _scores(self, model: Any, inputs: dict[str, Any], *, policy: bool) -> PairScores:
        batch = {name: value for name, value in inputs.items() if name not in OWN_KEYS}
        balanced = policy and self.aux_loss_enabled
        if balanced:
            batch["output_router_logits"] = True
        with self.forward_autocast():
            outputs = forward_at(model, batch, inputs["positions"])
        found = -functional.cross_entropy(
            outputs.logits.float(), inputs["targets"], reduction="none"
        )
        answered, lengths = inputs["answered"], inputs["lengths"]
        # The answers' tokens come first; row after row, as `masked_scatter` takes them.
        table = found.new_zeros(answered.shape).masked_scatter(answered, found)
        sft = None
        if policy and self.preference.has_sft:
            pairs = len(lengths)
            prompts = found[inputs["answer_tokens"] :]
            count = lengths[:, 0].sum() + len(prompts)
            sft = -(table[:pairs].sum() + prompts.sum()) / count.clamp(min=1)
        return PairScores(
            self.preference.scores(table, lengths), sft, outputs.aux_loss if balanced else None
        )

    def _note(
        self, mode: str, now: PairScores, chosen: torch.Tensor, rejected: torch.Tensor
    ) -> None:
        """Keep the measures for the next log line, under TRL's names, one value a pair."""
        beta = self.preference.beta
        scores = now.answers.detach().chunk(2)
        found = {
            "rewards/chosen": beta * chosen,
            "rewards/rejected": beta * rejected,
            "rewards/accuracies": (chosen > rejected).float(),
            "rewards/margins": beta * (chosen - rejected),
            "logps/chosen": scores[0],
            "logps/rejected": scores[1],
        }
        if self.preference.loss == "orpo":
            found["log_odds_chosen"] = log_odds(chosen, rejected)
            found["log_odds_ratio"] = functional.logsigmoid(found["log_odds_chosen"])
        for name, value in (("nll_loss", now.sft), ("aux_loss", now.balance)):
            if value is not None:
                found[name] = value.detach().expand(len(chosen))
        # One copy from the device for all of them.
        for name, values in zip(found, torch.stack(list(found.values())).tolist(), strict=True):
            self._metrics[mode][name].extend(values)
