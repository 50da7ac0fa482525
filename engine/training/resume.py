"""Where a run goes on: the chosen checkpoint, or the newest that is complete."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.faults.files import wrong_shape
from engine.problem import BadInput, Problem
from engine.runs.checkpoints import list_checkpoints, newest_complete, read_mark


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from, and what its mark remembers.

    `elapsed` is seconds of training before it. `loss_since_log` is the sum of the step losses
    since `last_logged_step`, `loss_total` the sum of all logged ones. `threads` is the number of
    CPU threads it was trained with. `evaluation_pending` tells of a validation cut short at it.
    `gathered` is what the stage had measured since its last log line, by name.
    """

    path: Path
    step: int
    elapsed: float
    threads: int
    loss_since_log: float
    last_logged_step: int
    loss_total: float
    evaluation_pending: bool
    gathered: dict[str, list[float]] = field(default_factory=dict)

    def callback_attributes(self, name: str) -> dict[str, Any]:
        """What a stateful callback of transformers (early stopping's patience) had stored."""
        state = json.loads((self.path / "trainer_state.json").read_text(encoding="utf-8"))
        stored = state.get("stateful_callbacks", {}).get(name, {})
        if isinstance(stored, list):
            stored = stored[-1]
        return dict(stored.get("attributes", {}))


def find_resume(asked: str | bool | None, run: Path) -> Resume | None:
    """The checkpoint that `resume_from_checkpoint` asks for.

    `True` means the newest complete one in `run`, None where there is none yet. A path names a
    checkpoint, or a run folder whose newest complete one is taken. Raises BadInput for a path
    that holds none, an incomplete checkpoint, or one without an optimiser.
    """
    if asked is None or asked is False or asked == "":
        return None
    if asked is True:
        found = newest_complete(run)
        if found is None:
            _refuse_weights_only(run)
            return None
        return _read(found.path)
    path = Path(asked).expanduser()
    if not path.is_dir():
        raise _bad(f"There is no checkpoint at {path}.", path, _offer(run))
    if path.name.startswith("checkpoint-"):
        return _read(path)
    found = newest_complete(path)
    if found is None:
        _refuse_weights_only(path)
        raise _bad(f"{path} holds no complete checkpoint.", path, _offer(run))
    return _read(found.path)


def _read(path: Path) -> Resume:
    mark = read_mark(path)
    if mark is None:
        raise _bad(
            f"{path.name} is not complete, so it can't be resumed from.",
            path,
            _offer(path.parent),
        )
    if not mark.get("resumable"):
        raise _bad(
            f"{path.name} holds weights only (save_only_model), so it can't be resumed from.",
            path,
            "Start a new run with it as the adapter or model instead.",
        )
    return Resume(
        path=path,
        step=int(mark["step"]),
        elapsed=float(mark.get("elapsed", 0.0)),
        threads=int(mark.get("threads", 0)),
        loss_since_log=float(mark.get("loss_since_log", 0.0)),
        last_logged_step=int(mark.get("last_logged_step", mark["step"])),
        loss_total=float(mark.get("loss_total", 0.0)),
        evaluation_pending=bool(mark.get("evaluation_pending")),
        gathered=dict(mark.get("gathered", {})),
    )


def _refuse_weights_only(run: Path) -> None:
    kept = [c for c in list_checkpoints(run) if c.complete]
    if kept:
        _read(kept[-1].path)


def _offer(run: Path) -> str:
    steps = [str(c.step) for c in list_checkpoints(run) if c.complete and c.resumable]
    if not steps:
        return "No checkpoint of this run can be resumed from; start it again."
    return f"Complete checkpoints of this run: {', '.join(steps)}."


def _bad(what: str, where: Path, hint: str) -> BadInput:
    return BadInput(Problem(what, where=str(where), hint=hint, setting="resume_from_checkpoint"))


_OF_AN_ADAPTER = re.compile(r"\.(lora|oft)_").search


def load_adapter_weights(model: Any, checkpoint: Path) -> bool:
    """Put a checkpoint's adapter into `model` exactly, types kept; False if it is no adapter."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = checkpoint / "adapter_model.safetensors"
    if not isinstance(model, PeftModel) or not weights.is_file():
        return False
    name = model.active_adapters[0]
    stored = load_file(weights, device="cpu")
    try:
        result: Any = set_peft_model_state_dict(model, stored, adapter_name=name)
    except RuntimeError as error:
        problem = wrong_shape(error)
        if problem is None:
            raise
        told = replace(problem, where=str(checkpoint), setting="resume_from_checkpoint")
        raise BadInput(told) from error
    # A frozen adapter on the same base (a reward model's) is no part of a checkpoint.
    lacking = [key for key in result.missing_keys if _OF_AN_ADAPTER(key) and f".{name}." in key]
    if result.unexpected_keys or lacking:
        odd = (list(result.unexpected_keys) + lacking)[0]
        raise BadInput(
            Problem(
                "The checkpoint's adapter does not fit this model and these adapter settings.",
                where=str(checkpoint),
                hint=f"They differ in {odd}, for one. Resume with the settings it was made with.",
                setting="resume_from_checkpoint",
            )
        )
    return True


def load_renamed(model: Any, checkpoint: Path) -> bool:
    """Put a checkpoint's whole weights into `model` where the file has other names for them.

    transformers 5.24 saves some architectures (most that read pictures, mixtures of experts) under
    the names of their published weights; its trainer then finds none of them in the model, and
    says nothing. So they are read as a model is. False for a checkpoint with the model's own names.
    """
    import torch
    from peft import PeftModel

    from engine.models.headers import read_header, weight_files

    if isinstance(model, PeftModel):
        return False
    held = model.state_dict()
    stored = {name for file in weight_files(checkpoint) for name in read_header(file)}
    if not stored or stored <= set(held):
        return False
    kind: Any = type(model)
    fresh = kind.from_pretrained(
        str(checkpoint), dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    with torch.no_grad():
        for name, value in fresh.state_dict().items():
            held[name].copy_(value)
    return True
