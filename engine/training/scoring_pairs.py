"""TRL's `RewardTrainer` with finetui's rows, head, stops and checkpoints.

What differs from TRL's trainer:
- the head reads the last token of a row, whatever token that is, and only there (transformers runs
  it on every token, and takes the last one that is not the padding token); it works in fp32;
- where the model allows it, a prompt is computed once for both its answers;
- measures are means over pairs, also where the last micro-batch is smaller;
- `value_head.safetensors` is written beside the weights, for other tools.

Measured with `tests/benchmarks/training/judging.py` (demo, LoRA on all linear layers, fp32,
micro-batches of two bundled pairs, one thread of a busy AVX2 machine), tokens a CPU second and the
median of the paired ratios to TRL's trainer, the losses equal: TRL 68; padded 64 (0.96); shared
prompts 101 (1.50). A head one number wide costs TRL nothing; the prompts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl import RewardTrainer

from engine.models.score_head import score_layer, scores_at
from engine.models.value_head import write_value_head
from engine.training.pair_batches import OWN_KEYS, PairForm, SharedPrompts
from engine.training.run_trainer import RunTrainer

LAST = "last_places"


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs laid out as `form` does it, and where each sequence has its last token.

    `last_places` (pairs, 2) are places among the flattened tokens, chosen answers first.
    """

    form: PairForm

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = self.form(rows)
        counts = [
            len(row["prompt_ids"]) + len(row[name])
            for name in ("chosen_ids", "rejected_ids")
            for row in rows
        ]
        ends = torch.tensor(counts) - 1
        lines = torch.arange(len(counts))
        if isinstance(self.form, SharedPrompts):
            places = batch["rows_gather"][lines, ends]
        else:
            places = lines * batch["input_ids"].shape[1] + ends
        kept = {name: value for name, value in batch.items() if name not in OWN_KEYS}
        # First, as its first dimension is what transformers takes for the size of the batch.
        return {LAST: places.view(2, -1).T.contiguous(), **kept, "tokens": batch["tokens"]}


class ScoreTrainer(RunTrainer, RewardTrainer):
    """Trains a reward model on pairs: -log sigmoid(score of the better - score of the worse).

    (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, equation 1.) The datasets hold
    `prompt_ids`, `chosen_ids` and `rejected_ids`.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # its rows are encoded already

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss of the pairs; the outputs are no more than the scores (pairs, 2)."""
        inputs = dict(inputs)
        last = inputs.pop(LAST)
        inputs.pop("tokens", None)
        # fp16 is accelerate's autocast, bf16 the run's own.
        with self.accelerator.autocast(), self.forward_autocast():
            scores = scores_at(self.accelerator.unwrap_model(model), inputs, last.reshape(-1))
        pairs = scores.view(-1, 2)
        margins = pairs[:, 0] - pairs[:, 1]
        losses = -logsigmoid(margins)
        self._note("train" if model.training else "eval", pairs.detach())
        loss = losses.mean()
        return (loss, {"logits": pairs}) if return_outputs else loss

    def _note(self, mode: str, pairs: torch.Tensor) -> None:
        """Keep the measures for the next log line under TRL's names, one value a pair."""
        margins = pairs[:, 0] - pairs[:, 1]
        found = {
            "accuracy": (margins > 0).float(),
            "margin": margins,
            "mean_reward": pairs.mean(1),
            "min_reward": pairs.amin().expand(len(pairs)),
            "max_reward": pairs.amax().expand(len(pairs)),
        }
        # One copy from the device for all of them.
        for name, values in zip(found, torch.stack(list(found.values())).tolist(), strict=True):
            self._metrics[mode][name].extend(values)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        layer = score_layer(self.model)
        write_value_head(Path(output_dir or self.args.output_dir), layer.weight, layer.bias)
