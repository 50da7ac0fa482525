"""Services that a run reports its curves to."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# Tracker → (the module that has to be there, the extra of finetui that brings it).
TRACKERS: dict[str, tuple[str, str]] = {
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
    "mlflow": ("mlflow", "mlflow"),
    "swanlab": ("swanlab", "swanlab"),
    "trackio": ("trackio", "trackio"),
}
# Handed to transformers' own callbacks: tracker → (module, package to install).
PASSED_ON: dict[str, tuple[str, str]] = {
    "comet_ml": ("comet_ml", "comet-ml"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "dvclive": ("dvclive", "dvclive"),
}
# Names of the published list whose integration is no longer kept up.
_GONE = {"neptune": "its service has closed"}


def chosen_trackers(config: Any) -> tuple[str, ...]:
    """The trackers of a run by name, `all` made into those that are installed, SwanLab's own
    switch among them."""
    names = [name.strip() for name in (config.report_to or "").split(",") if name.strip()]
    found: list[str] = []
    for name in names:
        if name == "all":
            found += [n for n, (module, _) in TRACKERS.items() if find_spec(module)]
        elif name != "none":
            found.append(name)
    if config.use_swanlab:
        found.append("swanlab")
    return tuple(dict.fromkeys(found))


def _tracks(config: Any) -> bool:
    return bool(chosen_trackers(config))


def _swanlab(config: Any) -> bool:
    return "swanlab" in chosen_trackers(config)


def _trackio(config: Any) -> bool:
    return "trackio" in chosen_trackers(config)


def _named_project(config: Any) -> bool:
    return bool({"trackio", "wandb", "mlflow"} & set(chosen_trackers(config)))


@group
class TrackerGroup:
    """Trackers and their projects."""

    report_to: str | None = setting(
        "none",
        label="Trackers",
        section="Trackers",
        help="Services that also get the curves, by comma: tensorboard, wandb, mlflow, swanlab, "
        "trackio; all takes those that are installed. Keys come from the environment or a login.",
        usual="none, or tensorboard",
        goes_with=("run_name", "project"),
    )
    run_name: str | None = setting(
        None,
        label="Run name",
        section="Trackers",
        help="A name for the run, kept with its settings and shown by trackers; empty takes that "
        "of its folder.",
        usual="empty",
        goes_with=("output_dir", "report_to"),
    )
    project: str | None = setting(
        "huggingface",
        label="Project",
        section="Trackers",
        help="The project (MLflow: experiment) that W&B, MLflow and trackio file the run under; "
        "WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME win over it.",
        usual="a name for everything that belongs together",
        goes_with=("report_to",),
        applies=_named_project,
    )
    trackio_space_id: str | None = setting(
        None,
        label="trackio Space",
        section="Trackers",
        help="A Space of the hub that trackio shows the curves on; empty keeps them on this "
        "machine.",
        usual="empty",
        goes_with=("project",),
        applies=_trackio,
        needs="trackio",
    )
    trackio_bucket_id: str | None = setting(
        None,
        label="trackio bucket",
        section="Trackers",
        help="A bucket of the hub that holds the Space's data.",
        usual="empty",
        goes_with=("trackio_space_id",),
        applies=_trackio,
        needs="trackio",
    )
    trackio_static_space_id: str | None = setting(
        None,
        label="trackio snapshot",
        section="Trackers",
        help="A Space that gets a still picture of the curves when the run has ended; empty makes "
        "none.",
        usual="empty",
        goes_with=("trackio_space_id",),
        applies=_trackio,
        needs="trackio",
    )
    use_swanlab: bool = setting(
        False,
        label="SwanLab",
        section="Trackers",
        help="Also reports to SwanLab, as report_to: swanlab does.",
        usual="off",
        goes_with=("swanlab_project", "swanlab_mode"),
        needs="swanlab",
    )
    swanlab_project: str | None = setting(
        "llamafactory",
        label="SwanLab project",
        section="Trackers",
        help="The project that SwanLab files the run under.",
        usual="a name for everything that belongs together",
        applies=_swanlab,
        needs="swanlab",
    )
    swanlab_workspace: str | None = setting(
        None,
        label="SwanLab workspace",
        section="Trackers",
        help="The workspace (person or organisation) that the project belongs to; empty is one's "
        "own.",
        usual="empty",
        applies=_swanlab,
        needs="swanlab",
    )
    swanlab_run_name: str | None = setting(
        None,
        label="SwanLab run",
        section="Trackers",
        help="The experiment's name there; empty takes the run's.",
        usual="empty",
        goes_with=("run_name",),
        applies=_swanlab,
        needs="swanlab",
    )
    swanlab_mode: Literal["cloud", "local"] = setting(
        "cloud",
        label="SwanLab mode",
        section="Trackers",
        help="Whether the curves go to SwanLab's service or only into a folder of this machine.",
        usual="cloud",
        goes_with=("swanlab_logdir",),
        applies=_swanlab,
        needs="swanlab",
    )
    swanlab_api_key: str | None = setting(
        None,
        label="SwanLab key",
        section="Trackers",
        help="The key of SwanLab's service; better in the environment as SWANLAB_API_KEY.",
        usual="empty",
        applies=_swanlab,
        needs="swanlab",
        secret=True,
    )
    swanlab_logdir: str | None = setting(
        None,
        label="SwanLab folder",
        section="Trackers",
        help="Where SwanLab keeps its files; empty makes a folder in the run's.",
        usual="empty",
        applies=_swanlab,
        needs="swanlab",
    )
    swanlab_lark_webhook_url: str | None = setting(
        None,
        label="Lark address",
        section="Trackers",
        help="A webhook of Lark (Feishu) that SwanLab tells when the run has ended.",
        usual="empty",
        applies=_swanlab,
        needs="swanlab",
        secret=True,
    )
    swanlab_lark_secret: str | None = setting(
        None,
        label="Lark secret",
        section="Trackers",
        help="The secret that signs the messages to Lark.",
        usual="empty",
        goes_with=("swanlab_lark_webhook_url",),
        applies=_swanlab,
        needs="swanlab",
        secret=True,
    )


def trackers_are_known(config: RunConfig) -> Problem | None:
    """A name that no tracker here answers to."""
    for name in chosen_trackers(config):
        if name in TRACKERS or name in PASSED_ON:
            continue
        known = ", ".join((*TRACKERS, *PASSED_ON))
        gone = _GONE.get(name)
        what = (
            f"report_to: {name} isn't here: {gone}." if gone else (f"There is no tracker {name}.")
        )
        return Problem(what, hint=f"These are: {known}.", setting="report_to")
    return None


def tracker_packages_are_there(config: RunConfig) -> Problem | None:
    """Rule 32: a tracker whose package is not installed."""
    for name in chosen_trackers(config):
        module, package = TRACKERS.get(name) or PASSED_ON.get(name) or ("", "")
        if not module or find_spec(module) is not None:
            continue
        install = f"'finetui[{package}]'" if name in TRACKERS else package
        own_switch = name == "swanlab" and config.use_swanlab
        return Problem(
            f"The tracker {name} needs the package {package}, which isn't installed.",
            hint=f"Install it with: pip install {install}",
            setting="use_swanlab" if own_switch else "report_to",
        )
    return None


def trackio_needs_a_project(config: RunConfig) -> Problem | None:
    """Rule 33: trackio files every run under a project."""
    if "trackio" in chosen_trackers(config) and not (config.project or "").strip():
        return Problem(
            "trackio files every run under a project, and project is empty.",
            hint="Set project to a name.",
            setting="project",
        )
    return None


def snapshot_needs_its_space(config: RunConfig) -> Problem | None:
    """The still picture is made of a live Space."""
    if (
        "trackio" in chosen_trackers(config)
        and config.trackio_static_space_id
        and not config.trackio_space_id
    ):
        return Problem(
            "trackio_static_space_id makes a snapshot of a Space, and trackio_space_id names none.",
            hint="Name the Space in trackio_space_id, or leave both empty.",
            setting="trackio_static_space_id",
        )
    return None


RULES: tuple[tuple[str, Any], ...] = (
    ("o95", trackers_are_known),
    ("32", tracker_packages_are_there),
    ("33", trackio_needs_a_project),
    ("o96", snapshot_needs_its_space),
)

REMARKS: tuple[Any, ...] = ()
