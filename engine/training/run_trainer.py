"""What finetui adds to any of transformers' trainers: stops, exact resumes, whole checkpoints.

Put before a trainer of transformers or TRL: `class SftTrainer(RunTrainer, SFTTrainer)`. All calls
of private names of transformers 5.24 and TRL 1.16 that the stages share stand in this module and
in `checkpoints_write.py`; `tests/engine/training/test_library_seams.py` fails when one moves.

- Between micro-batches the run can be stopped, paused, or ended by a guard.
- The order of rows depends on (seed, epoch) only.
- Checkpoints are complete or absent, and hold the random state their next step began with.
- What TRL's trainers gather for the next log line is carried over a resume.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, get_scheduler
from transformers.trainer_callback import ExportableState

from engine.models.changed_base import save_beside
from engine.models.quantise import count_parameters, unmarked
from engine.models.rope import write_scaling
from engine.models.vocabulary import has_grown, write_embeddings
from engine.problem import Stopped
from engine.training.checkpoints_write import CheckpointWriter
from engine.training.dataset import EpochSampler, Strategy, StreamSampler
from engine.training.each_set import evaluate_each
from engine.training.guards import check_finite
from engine.training.optimisers import Plan, build_optimiser, schedule_free
from engine.training.optimisers.build import say_of_schedule
from engine.training.optimisers.resume import keep_types, load_state, save_state
from engine.training.resume import Resume, load_adapter_weights, load_renamed
from engine.training.rng import random_state, set_random_state
from engine.training.stop import Gate

if TYPE_CHECKING:
    from engine.datasets.streaming import StreamedRows
    from engine.models.processor import Media


class RunTrainer(Trainer):
    """The part of a trainer that all stages share.

    `gate` is asked between micro-batches. `writer` writes the checkpoints. `order` is the sampling
    strategy. `autocast` is the type that matrix products run in ("bf16"), opened by
    `forward_autocast` around the forward pass, or None. `media` is what a model that takes media
    reads them with: its processor is saved with the weights. `plan` is what the optimiser is built
    from; without one it is transformers' own. `eval_sets` are the parts of the validation set to be
    measured one by one, by name. Everything else goes to the trainer behind this
    one. The training set has a column `length` where `own_order` is set.
    """

    optimizer: Any
    lr_scheduler: Any
    # False for trainers that bring the order of their rows themselves (several answers a prompt).
    own_order = True

    def __init__(
        self,
        *,
        gate: Gate,
        writer: CheckpointWriter,
        order: Strategy = "random",
        autocast: str | None = None,
        resume: Resume | None = None,
        media: Media | None = None,
        plan: Plan | None = None,
        eval_sets: Mapping[str, Any] | None = None,
        stream: StreamedRows | None = None,
        **kwargs: Any,
    ) -> None:
        self._stream = stream
        self._order = order  # a trainer may ask for its sampler while it is being built
        with unmarked(kwargs["model"]):
            super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)  # it prints to stdout, which is the screen's
        self.gate = gate
        self.writer = writer
        self.resume = resume
        self.plan = plan
        self.media = media
        self.eval_sets = dict(eval_sets or {})
        self.autocast_type = {"bf16": torch.bfloat16, "fp16": torch.float16, None: None}[autocast]
        self._step_tokens = 0
        self._step_losses: list[torch.Tensor] = []
        self._in_step = False
        self._loss_at_begin = torch.zeros(())
        self._gathered_at_begin: dict[str, list[float]] = {}
        # The random state that the next step begins with; None until the first step of a run.
        self.next_step_random: dict[str, Any] | None = None
        self.evaluation_pending = False
        self._parameters = count_parameters(self.model)

    # -- data ------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.own_order:
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        if self._stream is not None:
            return StreamSampler(self._stream, self._order, seed)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochSampler(list(rows["length"]), self._order, seed, step)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if not self.own_order:
            return super()._get_eval_sampler(eval_dataset)
        return torch.utils.data.SequentialSampler(eval_dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the rows."""
        batches = len(self.callback_handler.train_dataloader)
        return max(1, -(-batches // self.args.gradient_accumulation_steps))

    # -- optimiser -------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None and self.plan is not None:
            self.optimizer = build_optimiser(self, self.model if model is None else model)
        optimiser = super().create_optimizer(model)
        keep_types(optimiser)
        return optimiser

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.plan is not None and self.lr_scheduler is None:
            say_of_schedule(self.plan, optimizer or self.optimizer, num_training_steps)
        warmup = self.args.get_warmup_steps(num_training_steps)
        all_warmup = self.args.lr_scheduler_type == "polynomial" and warmup == num_training_steps
        if self.lr_scheduler is None and all_warmup:
            # transformers divides by the steps behind the warm-up, even when there are none.
            self.lr_scheduler = get_scheduler(
                "polynomial",
                optimizer or self.optimizer,
                warmup,
                num_training_steps + 1,
                self.args.lr_scheduler_kwargs,
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_state(self, Path(checkpoint))

    def _own_norm(self, limit: float) -> Any:
        """The gradient's norm where only the optimiser can tell it, after it was shortened to
        `limit`; None where torch's own way serves."""
        clip = getattr(getattr(self.optimizer, "optimizer", None), "clip_gradients", None)
        if clip is None:
            return None
        self.accelerator.unscale_gradients()
        return clip(limit)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = self._own_norm(self.args.max_grad_norm)
        return super()._clip_grad_norm(model) if norm is None else norm

    # -- the step --------------------------------------------------------------------------

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed from its last step, transformers would train one more before it looks.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self.gate.pass_through()
        tokens = self.count_tokens(inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._step_tokens += tokens
        self._step_losses.append(loss)
        return loss

    def count_tokens(self, inputs: Any) -> int:
        """Real tokens of a micro-batch, padding left out."""
        if "tokens" in inputs:
            return int(inputs["tokens"])
        return int(inputs["attention_mask"].sum())

    def begin_step(self) -> None:
        """Called before the first micro-batch of a step (by `RunCallback`)."""
        schedule_free.train_weights(self.optimizer)
        self._in_step = True
        self._step_tokens = 0
        self._step_losses.clear()
        self._loss_at_begin = self._tr_loss.clone()
        self._gathered_at_begin = self._gathered()
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
        if grad_norm is None:
            grad_norm = self._own_norm(float("inf"))
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
        return 6 * self._parameters * self.count_tokens(inputs)

    def forward_autocast(self) -> Any:
        """The autocast of the forward pass, or a context that does nothing."""
        if self.autocast_type is None:
            return contextlib.nullcontext()
        return torch.autocast(self.args.device.type, dtype=self.autocast_type)

    # -- evaluation --------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        # A validation loader draws random numbers; training must not depend on when it ran.
        before = random_state()
        try:
            if self.eval_sets and not args and not kwargs.get("eval_dataset"):
                return evaluate_each(self, super().evaluate, **kwargs)
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
        """Weights and tokenizer as safetensors; of several adapters (a reward model's may lie on
        the same base) the trained one. No `training_args.bin`: it held tokens, and is a pickle."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Any] = {}
        if isinstance(self.model, PeftModel):
            chosen["selected_adapters"] = list(self.model.active_adapters)
            if has_grown(self.model):
                # peft would save those that are trained whole a second time.
                chosen["save_embedding_layers"] = False
        with schedule_free.averaged_weights(self.optimizer):
            self.model.save_pretrained(folder, state_dict=state_dict, **chosen)
        if isinstance(self.model, PeftModel):
            write_scaling(self.model, folder)
            write_embeddings(self.model, folder)
        save_beside(self.model, folder)
        if self.media is not None:
            self.media.save(folder, self.processing_class)
        elif self.processing_class is not None:
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
        save_state(self, folder)
        self._save_scaler(str(folder))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # peft would cast a bf16 adapter to fp32 while it loads: put the tensors in place instead.
        folder = Path(resume_from_checkpoint)
        if not load_adapter_weights(self.model, folder) and not load_renamed(self.model, folder):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is None or not (
            load_adapter_weights(self.model, Path(best)) or load_renamed(self.model, Path(best))
        ):
            super()._load_best_model()
        schedule_free.are_averaged(self.optimizer)

    def restore_sums(self, resume: Resume) -> None:
        """Bring back what transformers forgets: the loss since the last log, and the whole run's.

        Called in `on_train_begin`, after transformers has set these to zero.
        """
        self._tr_loss += resume.loss_since_log
        self._globalstep_last_logged = resume.last_logged_step
        self._total_loss_scalar = resume.loss_total
        for store in ("_metrics", "_stored_metrics"):
            if hasattr(self, store):
                getattr(self, store)["train"] = defaultdict(list, resume.gathered)
        self._initial_global_step = 0
        self._initial_num_input_tokens_seen = 0

    def running_sums(self) -> dict[str, Any]:
        """The counterpart of `restore_sums`, as of the last whole step."""
        since_log = self._loss_at_begin if self._in_step else self._tr_loss
        gathered = self._gathered_at_begin if self._in_step else self._gathered()
        return {
            "gathered": gathered,
            "loss_since_log": float(since_log),
            "last_logged_step": self._globalstep_last_logged,
            "loss_total": self._total_loss_scalar,
        }

    def _gathered(self) -> dict[str, list[float]]:
        """What TRL's trainers have measured since the last log line, a list a name."""
        for store in ("_metrics", "_stored_metrics"):
            if hasattr(self, store):
                kept = getattr(self, store)["train"].items()
                return {name: [float(value) for value in values] for name, values in kept}
        return {}
