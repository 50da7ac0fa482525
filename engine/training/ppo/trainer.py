"""The loop of PPO inside transformers' trainer: one of its steps is a buffer, sampled and learned.

The trainer accumulates over `ppo_buffer_size` effective batches. For each micro-batch of prompts it
samples answers; with the last one the whole buffer is learned from, `ppo_epochs` times, in updates
of an effective batch each. The last update is the trainer's own, so that the schedule, checkpoints,
stops and logs count such steps, as the usual tool does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from transformers.trainer_utils import EvalLoopOutput

from engine.events import Completion, Completions
from engine.problem import Stopped
from engine.training.ppo import math
from engine.training.ppo.buffer import Buffer, Sampled
from engine.training.ppo.kept import Progress, Undo, repeated
from engine.training.ppo.value import ValueHead, without_head
from engine.training.rewards.scoring import Scoring
from engine.training.run_trainer import RunTrainer
from engine.training.sampling import SHOWN_CHARACTERS, SHOWN_ROWS
from engine.training.sampling.reading import lay_out, read
from engine.training.sampling.rollout import Sampling, sample

if TYPE_CHECKING:
    from engine.runs.session import JobSession
    from engine.training.references import Reference


@dataclass(frozen=True)
class PpoSettings:
    """`update` is the answers of one update (an effective batch), `epochs` the passes over the
    buffer, `kl_target` in nats an answer. `keep_undo` takes a broken step back on a stop."""

    update: int
    epochs: int
    kl_target: float
    kl_coefficient: float
    score_norm: bool
    whiten_rewards: bool
    keep_undo: bool


class PpoTrainer(RunTrainer):
    """Trains a policy and its value head on the scores of its own answers.

    The datasets hold `prompt_ids`, `prompt` and `answer`; the collator hands the rows on as they
    are. The model carries the head as `v_head`.
    """

    def __init__(
        self,
        *,
        settings: PpoSettings,
        head: ValueHead,
        reference: Reference,
        scoring: Scoring,
        sampling: Sampling,
        session: JobSession,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.head = head
        self.reference = reference
        self.scoring = scoring
        self.sampling = sampling
        self.session = session
        self.progress = Progress(settings.kl_coefficient)
        self._next_progress: Progress | None = None
        self._buffer = Buffer()
        self._undo: Undo | None = None
        self._updates = 0
        self._finishing = False
        self._fresh_tokens = 0
        self._metrics: dict[str, Any] = {"train": defaultdict(list)}
        self._shown: list[Sampled] = []

    # -- the step --------------------------------------------------------------------------

    def begin_step(self) -> None:
        super().begin_step()
        self._buffer = Buffer()
        self._undo, self._updates, self._finishing = None, 0, False

    def training_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Sample answers to a micro-batch of rows; with the step's last one, learn from them all.

        Returns the mean loss of the step's updates, or 0 while answers are only collected.
        """
        self.gate.pass_through()
        sampled = self._sample(inputs)
        self._buffer.add(sampled)
        self._fresh_tokens = sum(len(s.prompt) + len(s.answer) for s in sampled)
        self._step_tokens += self._fresh_tokens
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        return self._learn(model)

    def end_step(self) -> int:
        if self._next_progress is not None:
            self.progress = self._next_progress
        self._undo = None
        return super().end_step()

    def _sample(self, rows: Sequence[dict[str, Any]]) -> list[Sampled]:
        """An answer for each row, its scores, and what policy and reference make of it."""
        prompts = [list(row["prompt_ids"]) for row in rows]
        with self.forward_autocast():
            answers = sample(self.model, prompts, self.sampling, self.gate.pass_through)
        scores = self.scoring.score(rows, answers, self.gate.pass_through)
        laid = lay_out(prompts, answers, self.sampling.pad_id, self.args.device)
        heat = self.sampling.temperature
        with torch.no_grad(), self.forward_autocast():
            policy = read(self.model, laid, heat, self.head, entropy=True)
        with self.reference.of(self.model) as reference, self.forward_autocast():
            before = read(reference, laid, heat)
        return Sampled.of(rows, answers, self.scoring.texts(answers), scores, policy, before)

    def _learn(self, model: Any) -> torch.Tensor:
        settings, now = self.settings, self.progress.without_drop()
        batch = self._buffer.batch()
        scores, moments = batch.scores, now.moments
        if settings.score_norm:
            moments = moments.with_scores(scores)
            scores = moments.normalised(scores)
        kl = math.token_kl(batch.logprobs, batch.reference, batch.mask)
        rewards = math.token_rewards(scores, kl, batch.mask, now.kl_coefficient)
        if settings.whiten_rewards:
            rewards = math.masked_whiten(rewards, batch.mask, keep_mean=True)
        advantages, returns = math.advantages_and_returns(rewards, batch.values, batch.mask)
        advantages = math.masked_whiten(advantages, batch.mask)
        mean_kl = float(kl.sum(1).mean())
        if settings.keep_undo:
            self._undo = Undo(model, self.optimizer)
        updates = self._updates_of(len(scores))
        sums: dict[str, float] = defaultdict(float)
        for number, lines in enumerate(updates):
            loss = self._update(model, lines, batch, advantages, returns, sums)
            self._step_losses[:] = [loss]
            if number + 1 < len(updates):  # the last one is the trainer's own to apply
                self._apply(model)
        self._next_progress = Progress(
            math.next_kl_coefficient(
                now.kl_coefficient, mean_kl, settings.kl_target, len(batch.scores)
            ),
            moments,
        )
        means = {name: total / len(updates) for name, total in sums.items()}
        loss = means.pop("loss")
        self._note(batch, mean_kl, now.kl_coefficient, means)
        return torch.tensor(loss, device=self.args.device)

    def _updates_of(self, answers: int) -> list[list[int]]:
        """Which answers each update learns from: the buffer in a new order, once an epoch."""
        size = self.settings.update
        found = []
        for _ in range(self.settings.epochs):
            order = torch.randperm(answers).tolist()
            found += [order[start : start + size] for start in range(0, answers, size)]
        return found

    def _update(
        self,
        model: Any,
        lines: list[int],
        batch: Any,
        advantages: torch.Tensor,
        returns: torch.Tensor,
        sums: dict[str, float],
    ) -> torch.Tensor:
        """The gradient of one update in micro-batches, each token weighing the same."""
        tokens = int(batch.mask[lines].sum())
        size = self.args.per_device_train_batch_size
        whole = torch.zeros((), device=self.args.device)
        model.train()
        for start in range(0, len(lines), size):
            self._pass_gate()
            part = lines[start : start + size]
            rows = [self._buffer.rows[line] for line in part]
            laid = lay_out(
                [row.prompt for row in rows],
                [row.answer for row in rows],
                self.sampling.pad_id,
                self.args.device,
            )
            width = laid.mask.shape[1]

            def of(matrix: torch.Tensor, part: list[int] = part, width: int = width) -> Any:
                return matrix[part, :width].to(self.args.device)

            with self.accelerator.autocast(), self.forward_autocast():
                now = read(model, laid, self.sampling.temperature, self.head)
            losses, clipped = math.policy_losses(now.logprobs, of(batch.logprobs), of(advantages))
            errors = math.value_losses(now.values, of(batch.values), of(returns))
            policy = losses.where(laid.mask, torch.zeros_like(losses)).sum() / tokens
            value = errors.where(laid.mask, torch.zeros_like(errors)).sum() / tokens
            loss = policy + math.VALUE_COEFFICIENT * value
            self.accelerator.backward(loss)
            whole += loss.detach()
            found = {
                "loss": loss,
                "policy_loss": policy,
                "value_loss": value,
                "clip_share": (clipped & laid.mask).sum() / tokens,
            }
            stacked = torch.stack([x.detach().float() for x in found.values()]).tolist()
            for name, number in zip(found, stacked, strict=True):
                sums[name] += number
        return whole

    def _apply(self, model: Any) -> None:
        norm = None
        if self.args.max_grad_norm > 0:
            norm = self._clip_grad_norm(model)
        self._get_grad_norm(model, grad_norm=norm)  # raises for what is not finite
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._updates += 1

    def _pass_gate(self) -> None:
        """Stop here, or, where moved weights can't be put back, after the step."""
        try:
            self.gate.pass_through()
        except Stopped as stop:
            if not stop.save or self._undo is not None or not self._updates:
                raise
            if not self._finishing:
                self._finishing = True
                self.session.say("Stops after this step: its updates have begun.", "note")

    # -- what is told ------------------------------------------------------------------------

    def _note(self, batch: Any, kl: float, coefficient: float, means: dict[str, float]) -> None:
        scores = batch.scores
        found = {
            "reward": float(scores.mean()),
            "reward_std": float(scores.std(correction=0)),
            "kl": kl,
            "kl_coef": coefficient,
            "entropy": float(math.masked_mean(batch.entropy, batch.mask)),
            "response_length": float(batch.mask.sum(1).float().mean()),
            **means,
        }
        if self.scoring.several:
            found |= self._buffer.means_of_sources()
        for name, value in found.items():
            self._metrics["train"][name].append(value)
        self._shown = self._buffer.rows[:SHOWN_ROWS]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            gathered = self._metrics["train"]
            logs |= {name: sum(values) / len(values) for name, values in gathered.items()}
            gathered.clear()
        super().log(logs, start_time)
        if "loss" in logs and self._shown:
            rows = tuple(_shown(row) for row in self._shown)
            self.session.publish(Completions(step=self.state.global_step, rows=rows))

    def floating_point_ops(self, inputs: Any) -> int:
        """About 2 operations a parameter and token forward (sampling, policy, reference), and 6
        for each pass that learns."""
        return (6 + 6 * self.settings.epochs) * self._parameters * self._fresh_tokens

    # -- evaluation ----------------------------------------------------------------------------

    def evaluation_loop(
        self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        """The reward of an answer to each held-out prompt; `loss` is the mean reward, negated.

        Answers are drawn with the same random numbers each time, so evaluations compare.
        """
        torch.manual_seed(self.args.seed)
        self.model.eval()
        if callable(getattr(self.optimizer, "eval", None)):
            self.optimizer.eval()
        rewards: list[float] = []
        lengths: list[int] = []
        divergence: list[float] = []
        try:
            for rows in dataloader:
                for row in self._sample(rows):
                    rewards.append(row.score)
                    lengths.append(len(row.answer))
                    divergence.append(float((row.logprobs - row.reference).sum()))
        except Stopped:
            # A resume makes up for the evaluation that was cut short.
            self.evaluation_pending = self.is_in_train
            raise
        found = torch.tensor(rewards, dtype=torch.float64)
        metrics = {
            "loss": -float(found.mean()),
            "reward": float(found.mean()),
            "reward_std": float(found.std(correction=0)),
            "response_length": sum(lengths) / len(lengths),
            "kl": sum(divergence) / len(divergence),
        }
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(
            predictions=None, label_ids=None, metrics=named, num_samples=len(rewards)
        )

    # -- checkpoints -----------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The policy alone (of several adapters the trained one), and the head in its own file."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Any] = {}
        if isinstance(self.model, PeftModel):
            chosen["selected_adapters"] = list(self.model.active_adapters)
        with without_head(self.model):
            self.model.save_pretrained(folder, **chosen)
        self.head.save(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def save_stopped(self) -> Path | None:
        """The last whole step: what the broken one moved is put back."""
        answers = len(self._buffer.rows)
        if self._in_step and answers:
            self.progress = Progress(
                self.progress.kl_coefficient, self.progress.moments, (answers, self._updates)
            )
        if self._undo is not None:
            self._undo.restore()
            self._undo = None
        return super().save_stopped()

    def save_state_to(self, folder: Path) -> None:
        super().save_state_to(folder)
        self.progress.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        with without_head(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.head.load(folder)
        stored = Progress.load(folder)
        self.progress = stored.without_drop()
        if self.resume is not None:
            text = repeated(self.resume.step, stored.dropped, Path(self.args.output_dir))
            self.session.say(text)

    def _load_best_model(self) -> None:
        with without_head(self.model):
            super()._load_best_model()
        if self.state.best_model_checkpoint is not None:
            self.head.load(Path(self.state.best_model_checkpoint))


def _shown(row: Sampled) -> Completion:
    return Completion(
        prompt=row.prompt_text[:SHOWN_CHARACTERS],
        text=row.text[:SHOWN_CHARACTERS],
        answer=row.wanted[:SHOWN_CHARACTERS],
        reward=row.score,
        rewards=row.sources,
    )
