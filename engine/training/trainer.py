"""TRL's `SFTTrainer` with finetui's loss, order of rows, stops and checkpoints.

All calls of private names of transformers 5.24 and TRL 1.16 in training stand in this module and
in `checkpoints_write.py`; `tests/engine/training/test_library_seams.py` fails when one moves.

What differs from TRL's trainer:
- the loss: the head multiplies trained positions only, on every device (TRL picks them out only
  where Triton runs), and neither entropy nor top-1 is computed (LIBRARIES.md);
- `eval_loss` is the mean over trained tokens, not the mean of the batches' means;
- between micro-batches the run can be stopped, paused, or ended by a guard;
- the order of rows depends on (seed, epoch) only;
- checkpoints are complete or absent, and hold the random state their next step began with.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PrinterCallback
from transformers.trainer_callback import ExportableState
from trl import SFTTrainer

from engine.problem import Stopped
from engine.training.checkpoints_write import CheckpointWriter
from engine.training.collate import IGNORED
from engine.training.dataset import EpochSampler, Strategy
from engine.training.guards import check_finite
from engine.training.resume import Resume, load_adapter_weights
from engine.training.rng import random_state, set_random_state
from engine.training.stop import Gate


class SftTrainer(SFTTrainer):  # type: ignore[misc, valid-type]
    """Supervised fine-tuning of a decoder.

    `collate` is one of `engine.training.collate`; `eval_collate` the form for validation (the
    same by default). `autocast` is the type that matrix products run in ("bf16"), opened here
    around the forward pass, or None. `gate` is asked between micro-batches. `order` is the
    sampling strategy. `measure_accuracy` adds the share of trained tokens whose most likely
    prediction is right to the evaluation. The datasets hold `input_ids` and `labels`.
    """

    # The loss is divided by the trained tokens of the whole step: training_step must not divide.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        gate: Gate,
        writer: CheckpointWriter,
        order: Strategy = "random",
        autocast: str | None = None,
        measure_accuracy: bool = False,
        resume: Resume | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)  # it prints to stdout, which is the screen's
        self.gate = gate
        self.writer = writer
        self.resume = resume
        self.autocast_type = {"bf16": torch.bfloat16, "fp16": torch.float16, None: None}[autocast]
        self.measure_accuracy = measure_accuracy
        self._order = order
        self._head = self.model.get_output_embeddings()
        self._step_tokens = 0
        self._step_losses: list[torch.Tensor] = []
        self._in_step = False
        self._loss_at_begin = torch.zeros(())
        # The random state that the next step begins with; None until the first step of a run.
        self.next_step_random: dict[str, Any] | None = None
        self.evaluation_pending = False
        self._eval_sums: dict[str, float] = {}
        self._parameters = sum(p.numel() for p in self.model.parameters())

    # -- data ------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        rows = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochSampler(list(rows["length"]), self._order, seed, step)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return torch.utils.data.SequentialSampler(eval_dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the rows."""
        batches = len(self.callback_handler.train_dataloader)
        return max(1, -(-batches // self.args.gradient_accumulation_steps))

    # -- loss ------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Cross-entropy summed over the trained tokens, divided by `num_items_in_batch`.

        That number is the count of trained tokens in the whole optimiser step, so micro-batches
        of one step weigh by their tokens (as transformers does it); without it, by the batch's
        own count. A batch that trains nothing gives 0.
        """
        inputs = dict(inputs)
        inputs.pop("labels", None)
        inputs.pop("tokens", None)
        targets = inputs.pop("shift_labels").reshape(-1)
        trained = (targets != IGNORED).nonzero().squeeze(1)
        targets = targets[trained]
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        outputs = self._forward(model, inputs, trained)
        logits = outputs.logits
        losses = functional.cross_entropy(
            logits.float(),
            targets,
            reduction="sum",
            label_smoothing=self.args.label_smoothing_factor,
        )
        count = targets.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses / torch.as_tensor(count, device=losses.device).clamp(min=1)
        if self.aux_loss_enabled:
            # The load-balancing loss of a mixture of experts is a mean per micro-batch.
            parts = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / parts
        if not model.training:
            self._measure(logits, targets, losses)
        return (loss, outputs) if return_outputs else loss

    def _forward(self, model: Any, inputs: dict[str, Any], trained: torch.Tensor) -> Any:
        """The model's own forward with the head on few positions: logits (trained, vocabulary).

        A hook hands the head only the hidden states at `trained`, so whatever the architecture
        does to its logits (scaling, soft-capping) still happens, in its own code.
        """

        def pick(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = args[0]
            return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, trained), *args[1:])

        hook = self._head.register_forward_pre_hook(pick)
        try:
            with self._autocast():
                return model(**inputs, use_cache=False)
        finally:
            hook.remove()

    def _autocast(self) -> Any:
        if self.autocast_type is None:
            return contextlib.nullcontext()
        return torch.autocast(self.args.device.type, dtype=self.autocast_type)

    def _measure(self, logits: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> None:
        sums = self._eval_sums
        sums["loss"] = sums.get("loss", 0.0) + losses.item()
        sums["tokens"] = sums.get("tokens", 0.0) + targets.numel()
        if self.measure_accuracy:
            right = (logits.argmax(-1) == targets).sum().item()
            sums["right"] = sums.get("right", 0.0) + right

    # -- the step --------------------------------------------------------------------------

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed from its last step, transformers would train one more before it looks.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.gate.pass_through()
        tokens = int(inputs["tokens"])
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._step_tokens += tokens
        self._step_losses.append(loss)
        return loss

    def begin_step(self) -> None:
        """Called before the first micro-batch of a step (by `RunCallback`)."""
        self._in_step = True
        self._step_tokens = 0
        self._step_losses.clear()
        self._loss_at_begin = self._tr_loss.clone()
        # At the first step of an epoch the loader has already drawn a number: the state that a
        # resume has to start from was taken before that, in `begin_epoch`.
        if not float(self.state.epoch or 0.0).is_integer():
            self.next_step_random = random_state()

    def begin_epoch(self) -> None:
        self.next_step_random = random_state()

    def end_step(self) -> int:
        """Called after the optimiser's step; returns the real tokens of the step."""
        self._in_step = False
        self.state.num_input_tokens_seen += self._step_tokens
        # Until the next step begins, the current state is the one that it will begin with.
        self.next_step_random = None
        return self._step_tokens

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        # The last moment before the optimiser moves the weights: nothing that is not finite may
        # reach them. A gradient scaler (fp16) skips such steps by itself.
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        loss = torch.stack(self._step_losses).sum().item()
        scaled = getattr(self.accelerator, "scaler", None) is not None
        check_finite(self, loss, None if scaled else float(norm))
        return norm

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Counted in `end_step`, for whole steps only."""

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """About 6 operations a parameter and token (transformers' own estimate, without the
        walk over all parameters that it costs there for each micro-batch)."""
        return 6 * self._parameters * int(inputs["input_ids"].numel())

    # -- evaluation ------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        # A validation loader draws random numbers; training must not depend on when it ran.
        before = random_state()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            set_random_state(before)

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.gate.pass_through()
        except Stopped:
            # A resume makes up for the evaluation that was cut short.
            self.evaluation_pending = self.is_in_train
            raise
        return super().prediction_step(*args, **kwargs)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._eval_sums = {}
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        sums = self._eval_sums
        if sums.get("tokens"):
            output.metrics[f"{metric_key_prefix}_loss"] = sums["loss"] / sums["tokens"]
            if self.measure_accuracy:
                right = sums.get("right", 0.0) / sums["tokens"]
                output.metrics[f"{metric_key_prefix}_accuracy"] = right
        return output

    def make_up_evaluation(self) -> None:
        """Run the evaluation that a stop cut short, as if it had run at its step."""
        metrics = self._evaluate(None, None)
        self._determine_best_metric(metrics=metrics, trial=None)

    # -- checkpoints -----------------------------------------------------------------------

    def collect_callback_states(self) -> None:
        """Put what stateful callbacks (early stopping) remember into the trainer's state."""
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights and tokenizer as safetensors; no `training_args.bin` (it held tokens, and is
        a pickle)."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder, state_dict=state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.writer.write(self, with_optimiser=not self.args.save_only_model)

    def save_stopped(self) -> Path | None:
        """After `Stopped`: write the last whole step, optimiser included, unless it is there."""
        if self.state.global_step == 0:
            return None
        self.optimizer.zero_grad()
        return self.writer.write(self, with_optimiser=True, stopped=True)

    def save_state_to(self, folder: Path) -> None:
        """What a resume needs beside the weights: optimiser, scheduler, scaler."""
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # peft would cast a bf16 adapter to fp32 while it loads: put the tensors in place instead.
        if not load_adapter_weights(self.model, Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is None or not load_adapter_weights(self.model, Path(best)):
            super()._load_best_model()

    def restore_sums(self, resume: Resume) -> None:
        """Bring back what transformers forgets: the loss since the last log, and the whole run's.

        Called in `on_train_begin`, after transformers has set these to zero.
        """
        self._tr_loss += resume.loss_since_log
        self._globalstep_last_logged = resume.last_logged_step
        self._total_loss_scalar = resume.loss_total
        self._initial_global_step = 0
        self._initial_num_input_tokens_seen = 0

    def running_sums(self) -> dict[str, Any]:
        """The counterpart of `restore_sums`, as of the last whole step."""
        since_log = self._loss_at_begin if self._in_step else self._tr_loss
        return {
            "loss_since_log": float(since_log),
            "last_logged_step": self._globalstep_last_logged,
            "loss_total": self._total_loss_scalar,
        }
