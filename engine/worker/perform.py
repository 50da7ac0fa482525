"""How each kind of job is done: which part of the engine does it, and what it needs imported.

Every function here runs on the engine thread and imports what it calls when it is called.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine import faults
from engine.problem import BadSettings
from engine.runs.session import JobSession
from engine.worker import recovery
from engine.worker.jobs import ChatJob, EvaluateJob, ExportJob, Job, TrainJob
from engine.worker.quiet import tame_loggers

if TYPE_CHECKING:
    from engine.config import RunConfig

# The settings that decide which weights are loaded for chat; with any of them changed the kept
# model no longer fits.
_LOADED_BY = (
    "model_name_or_path",
    "model_revision",
    "adapter_name_or_path",
    "adapter_folder",
    "cache_dir",
    "trust_remote_code",
    "finetuning_type",
    "template",
    "enable_thinking",
    "preserve_thinking",
    "infer_dtype",
    "infer_backend",
    "flash_attn",
    "use_cpu",
    "device",
    "quantization_bit",
    "quantization_method",
    "rope_scaling",
    "image_max_pixels",
    "image_min_pixels",
    "image_do_pan_and_scan",
    "crop_to_patches",
    "video_fps",
    "video_maxlen",
    "video_max_pixels",
    "video_min_pixels",
)


# What an adapter brings: all else the same, a base lies under the kept adapter.
_OF_ADAPTER = ("adapter_name_or_path", "finetuning_type")


class Kept:
    """The chat model that stays loaded between answers, and the base under its adapter."""

    def __init__(self) -> None:
        self._chatter: Any = None
        self._base: Any = None
        self._key: dict[str, str] = {}

    def chatter(self, job: ChatJob, session: JobSession) -> Any:
        """The `engine.chat.Chatter` for this job's model, loaded now unless it is the kept one or
        the base under it."""
        key = {name: repr(getattr(job.config, name, None)) for name in _LOADED_BY}
        if self._chatter is not None and key == self._key:
            return self._chatter
        plain = not job.config.adapter_name_or_path
        if self._chatter is not None and plain and self._differs_by_adapter(key):
            self._base = self._base or self._chatter.base(job.config, session)
            if self._base is not None:
                return self._base
        self.drop()
        load_libraries(session, ("torch", "transformers", "peft"))
        from engine.chat import Chatter

        self._chatter = Chatter(job.config, session)
        self._key = key
        return self._chatter

    def _differs_by_adapter(self, key: dict[str, str]) -> bool:
        return all(key[name] == self._key[name] for name in key if name not in _OF_ADAPTER)

    @property
    def loaded(self) -> bool:
        return self._chatter is not None

    def drop(self) -> None:
        """Let the model go and give its memory back."""
        if self._chatter is None:
            return
        self._chatter = self._base = None
        self._key = {}
        collect()


Performer = Callable[[Any, JobSession, Kept], dict[str, Any]]


def train(job: TrainJob, session: JobSession, kept: Kept) -> dict[str, Any]:
    _check(job)
    kept.drop()
    load_libraries(session, ("torch", "transformers", "peft", "trl"))
    return _train_on(job.config, session)


def _train_on(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Train, and where memory runs out and the settings say so, go on with smaller micro-batches:
    each is at most half the last, so it ends."""
    from engine.training import run_training

    while True:
        try:
            return dict(run_training(config, session) or {})
        except Exception as error:
            changes: dict[str, Any] = {}
            if config.recover_from_oom == "auto" and faults.is_out_of_memory(error):
                changes = recovery.smaller_batch(config, session.folder)
            if not changes:
                raise
            problem = faults.explain(error)
            faults.forget_frames(error)
        # Outside of the handler: what it caught would hold the model's memory.
        collect()
        session.say(
            f"{problem.what} The run goes on from its last checkpoint with "
            f"{recovery.told(changes)}: the same rows an update.",
            "warning",
        )
        config = recovery.changed(config, changes)


def evaluate(job: EvaluateJob, session: JobSession, kept: Kept) -> dict[str, Any]:
    _check(job)
    kept.drop()
    load_libraries(session, ("torch", "transformers", "peft"))
    from engine.evaluation import run_evaluation, run_prediction

    if job.config.do_predict:
        session.state("predicting")
        return dict(run_prediction(job.config, session) or {})
    session.state("evaluating")
    return dict(run_evaluation(job.config, session) or {})


def export(job: ExportJob, session: JobSession, kept: Kept) -> dict[str, Any]:
    from engine.export import check_target, run_export

    _check(job)
    check_target(job.config.export_dir or "", ())  # at once: the libraries take their time
    kept.drop()
    load_libraries(session, ("torch", "transformers", "peft"))
    session.state("exporting")
    return dict(run_export(job.config, session) or {})


def chat(job: ChatJob, session: JobSession, kept: Kept) -> dict[str, Any]:
    _check(job)
    chatter = kept.chatter(job, session)
    session.state("answering")
    answer = chatter.answer(
        messages=job.messages,
        system=job.system,
        sampling=job.config,
        publish=session.publish,
        control=session.control,
    )
    return {"answer": answer} if isinstance(answer, str) else dict(answer or {})


PERFORMERS: Mapping[type[Job], Performer] = {
    TrainJob: train,
    EvaluateJob: evaluate,
    ExportJob: export,
    ChatJob: chat,
}


def load_libraries(session: JobSession, names: Sequence[str]) -> None:
    """Import the libraries one by one, saying which; seconds on a cold disk, so it is shown."""
    if "torch" not in sys.modules:
        _prepare_threads(session)
    if all(name in sys.modules for name in names):
        return
    first = "torch" not in sys.modules
    with _nothing_collected():
        for number, name in enumerate(names):
            session.progress(f"loading {name}", number, len(names), "libraries")
            session.control.check()
            importlib.import_module(name)
        if first:
            # Half a million objects that stay for good: each later collection, which holds the
            # screen and the run alike, took 0.4 s over them. Never later: a model that is kept
            # for the chat would be held for good too.
            gc.freeze()
    tame_loggers()
    session.progress("loading libraries", len(names), len(names), "libraries")


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Modules make objects and no garbage: looking for some is an eighth of an import's time."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


def _prepare_threads(session: JobSession) -> None:
    """Number, waiting and priority of the computing threads: all read once, by torch's pool."""
    from engine.models.threads import choose_threads, lower_priority, prepare_threads
    from engine.telemetry import read_machine

    lower_priority()
    # Beside a GPU the processor only feeds it: not worth seconds of measuring.
    measure = None if read_machine().gpus else session.progress
    prepare_threads(choose_threads(measure, session.control.check))


def collect() -> int:
    """Free what no one holds; returns the bytes of device memory that are still in use (CUDA)."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    torch.cuda.empty_cache()
    return sum(int(torch.cuda.memory_allocated(i)) for i in range(torch.cuda.device_count()))


def _check(job: Job) -> None:
    """The rules between settings, once more, whoever made the config."""
    from engine.config import check

    problems = check(job.config, job.kind)
    if problems:
        raise BadSettings(problems)
