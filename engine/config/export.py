"""Where a model is exported to and in which pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


@group
class ExportGroup:
    """Target folder, shards, device of the merge."""

    export_dir: str | None = setting(
        None,
        label="Export to",
        section="Export",
        help="The folder that gets the model with its adapter merged in, loadable by itself.",
        goes_with=("export_size",),
    )
    export_size: int = setting(
        5,
        label="Shard size, GB",
        section="Export",
        unit="GB",
        help="Weights are split into files of at most this size.",
        higher="fewer, larger files",
        lower="more, smaller files, easier to upload",
        usual="5",
        ge=1,
    )
    export_device: Literal["cpu", "auto"] = setting(
        "cpu",
        label="Merge on",
        section="Export",
        help="Where the merge is computed; cpu needs no GPU memory.",
        usual="cpu",
    )


def export_has_a_target(config: RunConfig) -> Problem | None:
    """Rule 54, the first part; asked only of an export."""
    if not (config.export_dir or "").strip():
        return Problem(
            "There is no folder to export to.",
            hint="Set export_dir, such as exports/my-model.",
            setting="export_dir",
        )
    return None


RULES = (("54", export_has_a_target),)
