"""One training job from its description to its results; runs on the engine thread."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, FinetuiError, JobFault, Problem, Stopped
from engine.runs.atomic import write_atomic
from engine.runs.session import JobSession
from engine.runs.trainer_log import TrainerLog
from engine.training.guards import GIB, MemoryWatch, is_disk_full
from engine.training.leak_watch import LeakWatch
from engine.training.optimisers import forget_shared
from engine.training.pace import Pace
from engine.training.resume import Resume, find_resume
from engine.training.stop import Gate

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Prepared


def run_training(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Train as `config` says into `session.folder`; returns what came of it.

    The result holds `folder`, `steps`, `train_loss`, `eval_loss` (None without validation),
    `best_step`, `seconds` and `tokens`. Publishes everything on the way. Raises BadInput for what
    can't be trained, JobFault for a run that could not go on, Stopped once asked to stop (with
    the last whole step saved, if that was wanted).
    """
    if session.folder is None:
        raise ValueError("a training job needs a run folder")
    from engine.models.mapped import exact_memory

    try:
        with exact_memory(config.quantization_bit is not None):
            return _Run(config, session, session.folder).perform()
    except (Stopped, FinetuiError):
        raise
    except BaseException as error:
        if is_disk_full(error):
            raise JobFault(
                Problem(
                    "The disk is full: the run could not write its log or results.",
                    where=str(session.folder),
                    hint="Free some space, then resume. Earlier checkpoints are untouched.",
                )
            ) from error
        raise
    finally:
        forget_shared()
        # The model is part of reference cycles: without this it lives on (LIBRARIES.md).
        gc.collect()


class _Run:
    """The parts of one run while it lasts."""

    def __init__(self, config: RunConfig, session: JobSession, folder: Path) -> None:
        self.config = config
        self.session = session
        self.folder = folder
        self.log = TrainerLog(folder / "trainer_log.jsonl")

    def perform(self) -> dict[str, Any]:
        from engine.training.checkpoints_write import sweep

        session = self.session
        session.state("loading")
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        resume = self._find_resume()
        prepared = self._prepare()
        trainer, watch = self._build(prepared, resume)
        with self.trackers, LeakWatch(self.config, session, len(prepared.eval)):
            try:
                self._write_description()
                trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
                results = self._measure(trainer)
            except (Stopped, FinetuiError) as end:
                if getattr(end, "save", False):
                    self._save_stopped(trainer)
                raise
            finally:
                watch.stop()
                self.log.close()
            return self._finish(trainer, prepared, results)

    # -- before ----------------------------------------------------------------------------

    def _find_resume(self) -> Resume | None:
        asked = self.config.resume_from_checkpoint
        resume = find_resume(asked, self.folder)
        if resume is not None:
            self.session.say(f"Going on from step {resume.step} ({resume.path}).")
        elif asked:
            self.session.say(
                "No complete checkpoint is there yet: the run begins at its beginning.", "note"
            )
        return resume

    def _prepare(self) -> Prepared:
        from engine.datasets import Encoder, prepare
        from engine.models import adapter_folders, choose_device, resolve
        from engine.models.computing import plan_computing
        from engine.models.processor import see_through
        from engine.models.quantised.stored import check_stored
        from engine.training.methods.before import check_before_loading
        from engine.training.optimisers import check_optimiser

        session, config = self.session, self.config
        self.model_folder = resolve(
            config.model_name_or_path or "",
            config,
            progress=session.progress,
            check_stop=session.control.check,
        )
        for note in check_stored(self.model_folder.path, config, for_training=True):
            session.say(note, "note")
        check_before_loading(self.model_folder.path, config)
        check_optimiser(config, choose_device(config))
        self.adapters = adapter_folders(",".join(config.adapters))
        # What can't be computed here is told before any row is read.
        plan_computing(self.model_folder.path, config, choose_device(config), True, self.adapters)
        self.encoder = Encoder(self.model_folder.path, config)
        self.media = see_through(self.encoder, self.model_folder.path, config)
        prepared = prepare(config, self.encoder, session.progress, self._check_stop)
        if not len(prepared.train):
            raise BadInput(
                Problem(
                    "There are no rows to train on.",
                    where="dataset",
                    hint="Name a set in dataset.",
                    setting="dataset",
                )
            )
        for note in prepared.notes:
            session.say(note, "note")
        return prepared

    def _check_stop(self) -> None:
        self.session.control.check()

    def _build(self, prepared: Prepared, resume: Resume | None) -> tuple[Any, MemoryWatch]:
        session, config = self.session, self.config
        session.progress("loading the model", 0, 3, "parts")
        from engine.config import to_flat
        from engine.models import choose_device, choose_precision, load_model, load_tokenizer
        from engine.models.changed_base import save_beside
        from engine.models.computing import computing_notes
        from engine.models.parameter_list import parameter_lines
        from engine.models.quantise import count_parameters
        from engine.models.threads import choose_threads, use_threads
        from engine.models.vocabulary import add_to_tokenizer, grow_embeddings
        from engine.telemetry import memory_left
        from engine.training.attention import ON_ROWS, on_rows
        from engine.training.callbacks import RunCallback
        from engine.training.checkpoints_write import CheckpointWriter
        from engine.training.dataset import to_dataset
        from engine.training.each_set import sets_of, stream_of
        from engine.training.methods import apply_method
        from engine.training.parts import Parts
        from engine.training.stages import STAGES, build_trainer
        from engine.training.trackers import Trackers

        words = self.encoder.tokenizer
        threads = resume.threads if resume and resume.threads else choose_threads().count
        use_threads(threads)
        device = choose_device(config)
        precision = choose_precision(config, device)
        for note in precision.notes:
            session.say(note, "note")
        tokenizer = load_tokenizer(
            self.model_folder.path, bool(config.trust_remote_code), config.split_special_tokens
        )
        add_to_tokenizer(tokenizer, config)
        if self.encoder.template_source:
            tokenizer.chat_template = self.encoder.template_source
        session.control.check()
        checkpointing = self._checkpointing(device, prepared)
        session.progress("loading the model", 1, 3, "parts")
        _seed(config.seed)
        head = STAGES[config.stage].head
        model = load_model(
            self.model_folder.path, config, precision, device, True, head, self.adapters
        )
        for note in (*computing_notes(model), *grow_embeddings(model, words, config)):
            session.say(note)
        session.control.check()
        session.progress("loading the model", 2, 3, "parts")
        _seed(config.seed)  # the adapter's first values depend on the seed alone
        model = apply_method(model, config, precision, resume.path if resume else None)
        save_beside(model, self.folder)  # the first values, before any step
        if config.print_param_status:
            for line in parameter_lines(model):
                session.say(line)
        watch = MemoryWatch(memory_left, int(config.memory_reserve_gb * GIB))
        gate = Gate(session, guards=(watch.check,))
        pace = Pace(resume.elapsed if resume else 0.0, paused=lambda: gate.paused_seconds)
        self.pace = pace
        writer = CheckpointWriter(
            self.folder,
            session,
            keep=config.save_total_limit,
            threads=threads,
            elapsed=lambda: pace.elapsed,
        )
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        description = {
            "model": self.model_folder.name,
            "stage": config.stage,
            "method": config.finetuning_type,
            "rows": len(prepared.train),
            "eval_rows": len(prepared.eval),
            "trainable_parameters": trained,
            "parameters": count_parameters(model),
            "precision": precision.name,
            "device": device,
            "effective_batch": config.effective_batch,
        }
        voice = RunCallback(session, self.log, pace, description)
        self.trackers = Trackers(
            config,
            session,
            self.folder,
            {**to_flat(config, only_changed=True), **description},
            resume.step if resume else 0,
        )
        evaluation = to_dataset(prepared.eval) if len(prepared.eval) else None
        trainer = build_trainer(
            Parts(
                config=config,
                model=model,
                tokenizer=tokenizer,
                train=to_dataset(prepared.train),
                evaluation=evaluation,
                eval_sets=sets_of(config, prepared, evaluation),
                stream=stream_of(prepared, session),
                precision=precision,
                device=device,
                folder=self.folder,
                checkpointing=checkpointing,
                gate=gate,
                writer=writer,
                resume=resume,
                callbacks=[voice, self.trackers],
                session=session,
                encoder=self.encoder,
                model_folder=self.model_folder,
                media=self.media,
            )
        )
        voice.trainer = trainer
        if on_rows(model):
            session.say(ON_ROWS)
        watch.start(_layers(model))
        session.progress("loading the model", 3, 3, "parts")
        if config.dataloader_num_workers:
            session.say("dataloader_num_workers: the run loads its rows itself.", "note")
        return trainer, watch

    def _checkpointing(self, device: str, prepared: Prepared) -> bool:
        """Gradient checkpointing: left out where all activations clearly fit, as it saves memory
        for about a third more time."""
        from engine.training.memory_plan import plan_checkpointing

        wanted, sentence = plan_checkpointing(
            self.config, self.model_folder.path, device, prepared.train, prepared.longest
        )
        if sentence:
            self.session.say(sentence)
        return wanted

    def _write_description(self) -> None:
        from engine.config import write_yaml

        write_atomic(self.folder / "training_args.yaml", write_yaml(self.config))

    # -- after -----------------------------------------------------------------------------

    def _measure(self, trainer: Any) -> dict[str, dict[str, Any]]:
        """The numbers of `train_results.json` and, with validation rows, `eval_results.json`."""
        state = trainer.state
        train = dict(next(x for x in reversed(state.log_history) if "train_loss" in x))
        train.pop("step", None)
        # transformers measures this sitting only, and with the time spent paused.
        seconds = max(self.pace.elapsed, 1e-9)
        rows = len(trainer.train_dataset) * float(state.epoch or 0.0)
        train["train_runtime"] = round(seconds, 4)
        train["train_samples_per_second"] = round(rows / seconds, 3)
        train["train_steps_per_second"] = round(state.global_step / seconds, 3)
        train["train_tokens"] = state.num_input_tokens_seen
        results = {"train": train}
        wants = self.config.do_eval or self.config.eval_strategy != "no"
        if trainer.eval_dataset is not None and wants:
            results["eval"] = self._last_evaluation(trainer) or self._evaluate(trainer)
        return results

    def _evaluate(self, trainer: Any) -> dict[str, Any]:
        self.session.state("evaluating")
        return {**trainer.evaluate(), "epoch": trainer.state.epoch}

    def _last_evaluation(self, trainer: Any) -> dict[str, Any] | None:
        """The evaluation of the weights as they are now, if the run has just made it."""
        state = trainer.state
        best = state.best_global_step
        step = best if trainer.args.load_best_model_at_end and best else state.global_step
        for line in reversed(state.log_history):
            if line["step"] == step and "eval_loss" in line:
                kept = {k: v for k, v in line.items() if k.startswith("eval_")}
                return {**kept, "epoch": line["epoch"]}
        return None

    def _save_stopped(self, trainer: Any) -> None:
        try:
            saved = trainer.save_stopped()
        finally:
            self._write_state(trainer)
        if saved is not None:
            self.session.say(f"Stopped after step {trainer.state.global_step}; saved {saved}.")
        else:
            self.session.say("Stopped before the first step was done: nothing to save.")

    def _finish(self, trainer: Any, prepared: Prepared, results: dict[str, Any]) -> dict[str, Any]:
        from engine.training.card import model_card
        from engine.training.checkpoints_write import write_model
        from engine.training.curves_png import draw_curves

        session, config, folder = self.session, self.config, self.folder
        session.state("saving", "results")
        write_model(trainer, folder)
        if config.pissa_convert:
            self._convert(trainer)
        combined: dict[str, Any] = {}
        for name, numbers in results.items():
            combined |= numbers
            write_atomic(folder / f"{name}_results.json", _json(numbers))
        write_atomic(folder / "all_results.json", _json(combined))
        self._write_state(trainer)
        if config.plot_loss:
            draw_curves(folder)
        card = model_card(
            config,
            config.run_name or folder.name,
            self._base_name(),
            prepared.counts,
            combined,
        )
        write_atomic(folder / "README.md", card)
        state = trainer.state
        return {
            "folder": str(folder),
            "method": config.finetuning_type,
            "steps": state.global_step,
            "train_loss": combined.get("train_loss"),
            "eval_loss": combined.get("eval_loss"),
            "best_step": state.best_global_step,
            "seconds": self.pace.elapsed,
            "tokens": state.num_input_tokens_seen,
        }

    def _convert(self, trainer: Any) -> None:
        """The result of a PiSSA run as a plain LoRA too, in a folder of its own."""
        from engine.training.methods.conversion import write_converted

        converted = write_converted(self.folder)
        if converted is not None:
            trainer.processing_class.save_pretrained(converted)
            self.session.say(f"The adapter as a plain LoRA on the unchanged base: {converted}.")

    def _base_name(self) -> str:
        """The hub id, or the short name of a folder (paths of this machine help nobody else)."""
        hub = self.model_folder.source in ("cache", "hub")
        return (self.config.model_name_or_path or "") if hub else self.model_folder.name

    def _write_state(self, trainer: Any) -> None:
        from engine.training.checkpoints_write import state_json

        write_atomic(self.folder / "trainer_state.json", state_json(trainer.state))


def _json(numbers: dict[str, Any]) -> str:
    return json.dumps(numbers, indent=4, sort_keys=True) + "\n"


def _seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)


def _layers(model: Any) -> list[Any]:
    """The decoder blocks of a model: the longest list of modules of one class."""
    import torch

    lists = [list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=lambda blocks: len(blocks), default=[])
