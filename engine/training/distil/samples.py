"""Distillation on the student's own answers: it is corrected where it goes wrong itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.events import Completion, Completions
from engine.problem import Stopped
from engine.training.collate import IGNORED
from engine.training.distil.trainer import DistilTrainer
from engine.training.sampling import SHOWN_CHARACTERS, SHOWN_ROWS
from engine.training.sampling.rollout import Sampling, sample


@dataclass(frozen=True)
class Prompts:
    """Prompts side by side, filled up on the left, with their texts: what an answer starts from."""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(row["prompt_ids"]) for row in rows)
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for line, row in enumerate(rows):
            length = len(row["prompt_ids"])
            ids[line, longest - length :] = torch.as_tensor(row["prompt_ids"])
            mask[line, longest - length :] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "prompt": [row["prompt"] for row in rows],
            "answer": [row["answer"] for row in rows],
        }


class SampledTrainer(DistilTrainer):
    """Learns a teacher's distribution on answers that the student samples for each step (Agarwal
    et al. 2023, arXiv 2306.13649, with all data on-policy; TRL's `DistillationTrainer`).

    `sampling_for(longest)` says how answers to prompts of `longest` tokens are sampled, `form`
    lays them out for training, `publish` takes the events that show them. The datasets hold
    `prompt_ids`, `prompt` and `answer`. Answers of a step are sampled before its first
    micro-batch, with the weights that the step begins with. In evaluation the same seed is used
    each time, so that scores differ by the weights alone.
    """

    def __init__(
        self,
        *,
        sampling_for: Callable[[int], Sampling],
        form: Any,
        publish: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sampling_for = sampling_for
        self.form = form
        self.publish = publish
        self._prompts: list[dict[str, Any]] = []
        self._answered: list[dict[str, Any]] = []
        self._trained_in_step: torch.Tensor | None = None
        self._shown: tuple[Completion, ...] = ()

    # -- training --------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        # Answers are not sampled here: on a resume the random state is put back after this.
        self._prompts, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._answered = []
        return self._prompts, None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        if not self._answered:
            self._answered = [self.answer(prompts) for prompts in self._prompts]
            counts = [(batch["shift_labels"] != IGNORED).sum() for batch in self._answered]
            self._trained_in_step = torch.stack(counts).sum()
        batch = self._answered.pop(0)
        return super().training_step(model, batch, self._trained_in_step)

    def answer(self, prompts: dict[str, Any]) -> dict[str, Any]:
        """A micro-batch of prompts with answers that the student samples, trained at the answers.

        Raises Stopped as soon as the run is stopped.
        """
        prompts = self._prepare_inputs(prompts)
        ids, mask = prompts["input_ids"], prompts["attention_mask"]
        starts = [line[seen == 1].tolist() for line, seen in zip(ids, mask, strict=True)]
        training = self.model.training
        try:
            with self.forward_autocast():
                how = self.sampling_for(ids.shape[1])
                answers = sample(self.model, starts, how, self.gate.pass_through)
        finally:
            self.model.train(training)
        rows = []
        for prompt, answer in zip(starts, answers, strict=True):
            labels = [IGNORED] * len(prompt) + answer
            rows.append({"input_ids": prompt + answer, "labels": labels, "answer": answer})
        lengths = torch.tensor([float(len(row["answer"])) for row in rows])
        self.note(training, len(rows), **{"completions/mean_length": lengths.sum()})
        self._shown = tuple(
            Completion(prompt[:SHOWN_CHARACTERS], self._text(row), reference[:SHOWN_CHARACTERS])
            for prompt, row, reference in zip(
                prompts["prompt"], rows, prompts["answer"], strict=True
            )
        )[:SHOWN_ROWS]
        return self._prepare_inputs(self.form(rows))

    def _text(self, row: dict[str, Any]) -> str:
        text = self.processing_class.decode(row["answer"], skip_special_tokens=True)
        return str(text)[:SHOWN_CHARACTERS]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 6 * self._parameters * self._last_tokens

    def count_tokens(self, inputs: Any) -> int:
        self._last_tokens = super().count_tokens(inputs)
        return self._last_tokens

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if "loss" in logs and self._shown:
            self.publish(Completions(step=self.state.global_step, rows=self._shown))

    # -- evaluation ------------------------------------------------------------------------

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(self.args.seed)  # `evaluate` puts the random state back
        return super().evaluation_loop(*args, **kwargs)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shown = self._shown
        try:
            batch = self.answer(inputs)
        except Stopped:
            self.evaluation_pending = self.is_in_train
            raise
        finally:
            self._shown = shown
        return super().prediction_step(model, batch, *args, **kwargs)
