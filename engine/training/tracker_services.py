"""The services that a run can be followed on, one small class each over the service's library.

transformers has callbacks for them too. They upload every argument and path of the trainer, read
their settings from the environment only, share one run a process, and leave it open when training
is stopped; so these are finetui's own. What is uploaded is the run's flat description without
secrets, what it says of itself, and the curves under the names that transformers uses
(`train/loss`, `eval/loss`). Neither the command line, the terminal's output nor code is sent.

A service may raise whatever it likes, and hang: `engine.training.trackers` keeps that away from
the run. `begin` returns the id that a resumed run goes on with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run at its beginning.

    `facts` is the flat description without secrets and the numbers of the model and data. `known`
    is the id that this tracker gave the run when it was begun, None for a new one. `step` is the
    one that the run goes on from.
    """

    name: str
    folder: Path
    config: Any
    facts: Mapping[str, Any]
    known: str | None
    step: int


class Service(Protocol):
    """A tracker's library. All calls come from one thread, in order."""

    def begin(self, run: TrackedRun) -> str | None: ...
    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def end(self, well: bool) -> None: ...


class TensorBoard:
    """Event files in the run's folder `runs`; points after the resumed step are taken back."""

    def begin(self, run: TrackedRun) -> str | None:
        from torch.utils.tensorboard import SummaryWriter

        place = os.environ.get("TENSORBOARD_LOGGING_DIR")
        folder = Path(place).expanduser() / run.name if place else run.folder / "runs"
        resumed = run.known is not None
        self._writer = SummaryWriter(str(folder), purge_step=run.step + 1 if resumed else None)
        if not resumed:
            lines = [f"    {name}: {value}" for name, value in run.facts.items()]
            self._writer.add_text("run", "\n".join(lines))
        return str(folder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, well: bool) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases: online with a key of WANDB_API_KEY or `wandb login`, else as WANDB_MODE
    says."""

    def begin(self, run: TrackedRun) -> str | None:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            # The command line stands in its metadata, and may hold a token.
            x_disable_meta=True,
            disable_git=True,
            save_code=False,
            disable_code=True,
            init_timeout=60,
            finish_timeout=60,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or run.config.project or None,
            name=run.name,
            id=run.known,
            resume="allow" if run.known else None,
            dir=str(run.folder),
            config=dict(run.facts),
            settings=settings,
            reinit="create_new",
        )
        self._run.define_metric("train/global_step")
        self._run.define_metric("*", step_metric="train/global_step", step_sync=True)
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "train/global_step": step})

    def end(self, well: bool) -> None:
        self._run.finish(exit_code=0 if well else 1)


class Mlflow:
    """MLflow: the server or store of MLFLOW_TRACKING_URI, else files in the run's folder."""

    def begin(self, run: TrackedRun) -> str | None:
        # An unreachable server is told soon, not after minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if not place:
            place = (run.folder / "mlruns").absolute().as_uri()
        if place.startswith("file:") or "://" not in place:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=place)
        if run.known is not None:
            self._run = run.known
            self._client.update_run(self._run, status="RUNNING")
            return self._run
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.config.project or "Default"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._run = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(key, str(value)[:500]) for key, value in run.facts.items()]
        for start in range(0, len(params), 100):
            self._client.log_batch(self._run, params=params[start : start + 100])
        return str(self._run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_mlflow_name(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def end(self, well: bool) -> None:
        self._client.set_terminated(self._run, status="FINISHED" if well else "FAILED")


def _mlflow_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)


class Swanlab:
    """SwanLab, in its cloud or a folder of this machine; tells Lark at the end where asked to."""

    def begin(self, run: TrackedRun) -> str | None:
        import swanlab

        config = run.config
        cloud = config.swanlab_mode == "cloud"
        mode = os.environ.get("SWANLAB_MODE") or ("online" if cloud else "local")
        key = config.swanlab_api_key or os.environ.get("SWANLAB_API_KEY")
        if mode in ("online", "cloud") and key:
            swanlab.login(api_key=key, save=False)
        settings = swanlab.Settings(
            interactive=False,
            terminal={"proxy_type": "none"},
            # The command line may hold a token.
            probe={"runtime": False, "git": False, "requirements": False},
        )
        folder = Path(config.swanlab_logdir or run.folder / "swanlog").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        known = run.known if mode in ("online", "cloud") else None
        self._run = swanlab.init(
            project=config.swanlab_project or None,
            workspace=config.swanlab_workspace or None,
            name=config.swanlab_run_name or run.name,
            log_dir=str(folder),
            mode="online" if mode == "cloud" else mode,
            id=known,
            resume="allow" if known else None,
            config=dict(run.facts),
            settings=settings,
            callbacks=_lark(config),
        )
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def end(self, well: bool) -> None:
        if well:
            self._run.finish()
        else:
            self._run.finish(state="crashed", error="the run ended early")


def _lark(config: Any) -> list[Any] | None:
    if not config.swanlab_lark_webhook_url:
        return None
    from swanlab.plugin.notification.lark import LarkCallback

    return [
        LarkCallback(
            webhook_url=config.swanlab_lark_webhook_url,
            secret=config.swanlab_lark_secret,
            language="en",
        )
    ]


class Trackio:
    """trackio: on this machine, or on a Space of the hub (with the hub's own login)."""

    def begin(self, run: TrackedRun) -> str | None:
        import trackio

        config = run.config
        self._config = config
        self._run = trackio.init(
            project=config.project,
            name=run.known or run.name,
            space_id=config.trackio_space_id or None,
            bucket_id=config.trackio_bucket_id or None,
            private=True if config.trackio_space_id else None,
            config=dict(run.facts),
            resume="allow" if run.known else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return str(self._run.name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "train/global_step": step}, step=step)

    def end(self, well: bool) -> None:
        import trackio

        self._run.finish()
        trackio.context_vars.current_run.set(None)
        if well and self._config.trackio_static_space_id:
            trackio.freeze(
                space_id=self._config.trackio_space_id,
                project=self._config.project,
                new_space_id=self._config.trackio_static_space_id,
            )


class ByTransformers:
    """A callback of transformers for a tracker that finetui has none of its own for.

    It is handed the trainer's state as the loop has it; what it uploads is its own business, and
    TrainingArguments hold no token here.
    """

    def __init__(self, name: str, seen: Callable[[], tuple[Any, Any, Any]]) -> None:
        self._name = name
        self._seen = seen

    def begin(self, run: TrackedRun) -> str | None:
        from transformers import TrainerControl
        from transformers.integrations import get_reporting_integration_callbacks

        self._callback = get_reporting_integration_callbacks(self._name)[0]()
        self._control = TrainerControl()
        args, state, model = self._seen()
        with suppress(AttributeError):  # not all of them have it
            self._callback.on_init_end(args, state, self._control)
        self._callback.on_train_begin(args, state, self._control, model=model)
        return None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        args, state, model = self._seen()
        logs = {_plain(name): value for name, value in values.items()}
        self._callback.on_log(args, state, self._control, logs=logs, model=model)

    def end(self, well: bool) -> None:
        args, state, model = self._seen()
        self._callback.on_train_end(args, state, self._control, model=model)


def _plain(name: str) -> str:
    """The trainer's own name of a measure: eval/loss was eval_loss."""
    part, _, rest = name.partition("/")
    return f"eval_{rest}" if part == "eval" else rest


SERVICES: dict[str, Callable[[], Service]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "swanlab": Swanlab,
    "trackio": Trackio,
}
