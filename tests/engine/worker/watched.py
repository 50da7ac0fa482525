"""An engine whose jobs are functions of the test, and all that it said."""

from __future__ import annotations

from types import SimpleNamespace

from engine.events import StateChanged
from engine.worker import ChatJob, Engine, EvaluateJob, TrainJob


def job_config(**changes):
    values = {
        "model_name_or_path": "demo",
        "finetuning_type": "lora",
        "stage": "sft",
        "output_dir": None,
        "overwrite_output_dir": False,
        "resume_from_checkpoint": None,
        "do_predict": False,
    }
    return SimpleNamespace(**{**values, **changes})


class Watched:
    """An engine whose training is the function of the test, and all it said."""

    def __init__(self, **performers) -> None:
        kinds = {"train": TrainJob, "evaluate": EvaluateJob, "chat": ChatJob}
        self.engine = Engine({kinds[name]: function for name, function in performers.items()})
        self.events = []
        self.engine.subscribe(self.events.append)
        self.engine.start()

    def states(self, run):
        return [e.state for e in self.events if isinstance(e, StateChanged) and e.run == run]

    def of(self, kind, run):
        return [e for e in self.events if isinstance(e, kind) and e.run == run]

    def ended(self, run):
        assert self.engine.wait(run, 30), "the job did not end"
