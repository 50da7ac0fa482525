"""TRL's `GRPOTrainer` and `RLOOTrainer` with finetui's prompts, sampling, rewards and stops.

What differs from TRL's trainers (1.16), beside what `RunTrainer` adds to all:
- prompts are sampled from as the `Encoder` wrote them, token for token: TRL would tokenise their
  text again, and put a second opening token before some;
- answers are sampled in evaluation mode (`engine.training.sampling.rollout`), can be stopped
  between two tokens, and end at every token that ends a turn in the run's template;
- rewards are `engine.training.rewards.scoring`'s: functions by name, a reward model, or both;
- the reference is `engine.training.references`': with LoRA no second model, and for a new adapter
  no second adapter either;
- on a CPU the head multiplies the answers' positions only (TRL takes all where Triton does not run:
  1.7 times the time at prompts of 74 and answers of 24 tokens of the demo model);
- the order of prompts depends on (seed, epoch) only, and no prompt is left out;
- measures of an evaluation are means over its prompts, one answer each, drawn with the same random
  numbers every time. Its loss is the negative mean reward: the loss that trains is 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import set_seed
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from engine.events import Completion, Completions
from engine.training.dataset import EpochSampler, StreamSampler
from engine.training.groups.order import GroupSampler
from engine.training.references import Reference
from engine.training.rewards.functions import MODEL_REWARD
from engine.training.rewards.scoring import Scoring
from engine.training.rng import random_state, set_random_state
from engine.training.run_trainer import RunTrainer
from engine.training.sampling import SHOWN_CHARACTERS, SHOWN_ROWS
from engine.training.sampling.reading import Reading, lay_out, read
from engine.training.sampling.rollout import Sampling, sample

if TYPE_CHECKING:
    from engine.events import Event


class GroupRunTrainer(RunTrainer):
    """What the trainers that compare a group's answers share.

    The datasets hold `prompt_ids`, `prompt`, `answer` and `length`. `sampling` is how answers are
    drawn, `scoring` what they are worth. `beta` is the weight of the KL to `reference`, which is
    None where that is 0. `publish` takes a `Completions` event at each step that is logged.
    """

    own_order = False

    def __init__(
        self,
        *,
        sampling: Sampling,
        scoring: Scoring,
        reference: Reference | None,
        beta: float,
        publish: Callable[[Event], object],
        **kwargs: Any,
    ) -> None:
        if (beta != 0.0) != (reference is not None):
            raise ValueError("a reference goes with a KL weight, and only with one")
        self.sampling = sampling
        self.scoring = scoring
        self._publish = publish
        self._rows: Sequence[dict[str, Any]] = ()  # of the round that is being sampled
        self._shown: tuple[Completion, ...] = ()
        self._held_out: list[dict[str, float]] = []
        self._batch_tokens = 0
        names = source_names(scoring)
        with _no_second_adapter(kwargs["model"]):
            super().__init__(reward_funcs=[_never_called] * len(names), **kwargs)
        self.reward_func_names = names
        # TRL was built without a KL weight, so it has loaded no reference of its own.
        self.beta = beta
        self.ref_model = reference
        if reference is not None and reference.model is not None:
            add_fused_lm_head(reference.model, temperature=self.temperature)
        self.eos_token_ids = list(sampling.end_ids)

    # -- data --------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        rows = self.train_dataset if dataset is None else dataset
        args = self.args
        seed = args.seed if args.data_seed is None else args.data_seed
        prompts = args.generation_batch_size // self.num_generations
        order: EpochSampler | StreamSampler
        if self._stream is not None:
            order = StreamSampler(self._stream, self._order, seed)
        else:
            order = EpochSampler(list(rows["length"]), self._order, seed, prompts)
        repeats = self.num_iterations * args.steps_per_generation
        return GroupSampler(order, prompts, self.num_generations, repeats)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return torch.utils.data.SequentialSampler(eval_dataset)

    # -- sampling and scoring ------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = inputs
        seen = self.state.num_input_tokens_seen
        found: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.state.num_input_tokens_seen = seen  # counted in `end_step`, for whole steps only
        if self.model.training:
            advantages = found["advantages"].tolist()
            self._shown = tuple(
                _shortened(row, advantage=float(value))
                for row, value in zip(self._shown, advantages, strict=False)
            )
        return found

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(row["prompt_ids"]) for row in self._rows], None, {}

    def _sample(self, prompts: list[list[int]]) -> list[list[int]]:
        model = self.accelerator.unwrap_model(self.model)
        training = model.training
        try:
            with self.forward_autocast():
                return sample(model, prompts, self.sampling, self.gate.pass_through)
        finally:
            model.train(training)

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[str],
        completions: list[str],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        """The rewards (answers, sources), before their weights; NaN where one does not apply."""
        scores = self.scoring.score(inputs, completion_ids_list, self.gate.pass_through)
        if self.model.training:
            shown = zip(inputs, completions, scores.total.tolist(), scores.each, strict=True)
            self._shown = tuple(
                Completion(row["prompt"], text, row["answer"], total, each)
                for row, text, total, each in list(shown)[:SHOWN_ROWS]
            )
        else:
            totals = scores.total.tolist()
            self._held_out += [
                {"reward": total, **{f"rewards/{name}/mean": v for name, v in each.items()}}
                for total, each in zip(totals, scores.each, strict=True)
            ]
        table = [[each[name] for name in self.reward_func_names] for each in scores.each]
        return torch.tensor(table, dtype=torch.float32, device=self.accelerator.device)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Log-probabilities and entropies of the last `logits_to_keep` tokens of each row, and the
        load-balancing loss of a mixture of experts (all as TRL gives them)."""
        if isinstance(model, Reference):
            source: Any = model.of(self.accelerator.unwrap_model(self.model))
        else:
            source = nullcontext(model)
        rows, kept = (input_ids, attention_mask), logits_to_keep
        with self.forward_autocast(), source as reader:
            if compute_aux_loss or self.args.device.type != "cpu":
                return super()._get_per_token_logps_and_entropies(
                    reader, *rows, kept, batch_size, compute_entropy, compute_aux_loss, **kwargs
                )
            found = [
                self._read(reader, ids, mask, kept, compute_entropy)
                for ids, mask in zip(*(r.split(batch_size or len(r)) for r in rows), strict=True)
            ]
        logps = torch.cat([part.logprobs for part in found])
        entropies = [part.entropy for part in found if part.entropy is not None]
        return logps, torch.cat(entropies) if entropies else None, None

    def _read(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, kept: int, entropy: bool
    ) -> Reading:
        """A batch of padded rows, read with the head on the answers' positions only."""
        real = mask.bool()
        split = ids.size(1) - kept
        prompts = [row[:split][m[:split]].tolist() for row, m in zip(ids, real, strict=True)]
        answers = [row[split:][m[split:]].tolist() for row, m in zip(ids, real, strict=True)]
        laid = lay_out(prompts, answers, self.sampling.pad_id, ids.device)
        # As wide as the round is, not only as this batch.
        wide = functional.pad(laid.mask, (0, kept - laid.mask.size(1)))
        return read(model, replace(laid, mask=wide), self.temperature, entropy=entropy)

    # -- the step ------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(model, inputs, *args, **kwargs)
        # The batch that was trained on is known only now: it is a slice of the sampled round.
        batch = self._buffered_inputs[(self._step - 1) % self.args.steps_per_generation]
        self._batch_tokens = int(batch["prompt_mask"].sum() + batch["completion_mask"].sum())
        self._step_tokens += self._batch_tokens
        return loss

    def count_tokens(self, inputs: Any) -> int:
        return 0  # `inputs` are prompts still; `training_step` counts

    def floating_point_ops(self, inputs: Any) -> int:
        """About 6 operations a parameter and token to train, 2 to sample."""
        return 8 * self._parameters * self._batch_tokens

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        kept = self._metrics[mode]
        for name in [n for n, values in kept.items() if all(math.isnan(v) for v in values)]:
            del kept[name]  # TRL would log None
        super().log(logs, start_time)
        if "loss" in logs and self._shown:
            self._publish(Completions(step=self.state.global_step, rows=self._shown))

    # -- evaluation ----------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        before = random_state()
        set_seed(self.args.seed)
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            set_random_state(before)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._held_out = []
        # An evaluation that a stop cut short has left its measures.
        self._metrics["eval"].clear()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        measured = self._metrics["eval"]
        for name in [n for n in measured if n.startswith(("reward_std", "frac_", "rewards/"))]:
            del measured[name]  # means of batches, and spreads within groups of one
        for name in ("reward", *(f"rewards/{n}/mean" for n in self.reward_func_names)):
            values = [row[name] for row in self._held_out if not math.isnan(row[name])]
            if values:
                measured[name] = [sum(values) / len(values)]
        if measured.get("reward"):
            output.metrics[f"{metric_key_prefix}_loss"] = -measured["reward"][0]
        return output


class GroupTrainer(GroupRunTrainer, GRPOTrainer):
    """GRPO: an answer's advantage is its distance from its group's mean, in its group's spread."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> tuple[Any, None]:
        return self._sample(prompt_ids), None


class LeaveOneOutTrainer(GroupRunTrainer, RLOOTrainer):
    """RLOO: an answer's advantage is its distance from the mean of the others of its group; the
    KL is taken off the reward."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> list[list[int]]:
        return self._sample(prompt_ids)


def source_names(scoring: Scoring) -> list[str]:
    """What each source of rewards is logged as: functions in their order, then the model."""
    models = [MODEL_REWARD] if scoring.model is not None else []
    return [reward.name for reward in scoring.functions] + models


def _never_called(**_: Any) -> list[float]:
    raise AssertionError("rewards are calculated by `Scoring`")


def _shortened(row: Completion, advantage: float) -> Completion:
    def cut(text: str) -> str:
        return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"

    return Completion(
        cut(row.prompt), cut(row.text), cut(row.answer), row.reward, row.rewards, advantage
    )


@contextmanager
def _no_second_adapter(model: Any) -> Iterator[None]:
    """TRL's RLOO copies a PeftModel's adapter under the name `ref`, wanted or not: the copy is
    made without touching the base (as PiSSA's first values would), and taken off again."""
    if not isinstance(model, PeftModel):
        yield
        return
    configs, flags = model.peft_config, {n: p.requires_grad for n, p in model.named_parameters()}
    own = configs["default"]
    plain: Any = copy(own)
    if hasattr(own, "init_lora_weights"):
        plain.init_lora_weights = True
    configs["default"] = plain
    try:
        yield
    finally:
        configs["default"] = own
        if "ref" in configs:
            model.delete_adapter("ref")
        for name, weight in model.named_parameters():
            weight.requires_grad_(flags[name])
