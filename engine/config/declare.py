"""How one setting is declared: once, with all that form, files and documentation need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

Level = Literal["basic", "all", "hidden"]


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its type and default (which pydantic keeps).

    `section` is the form section. `level` basic stands in the short form, all in the long one,
    hidden only in files and on the command line. `help` is one sentence; `higher` and `lower` say
    what a higher and a lower value do; `usual` gives usual values, `usual_for` those of one
    method (lora, freeze, full) where they differ, `goes_with` names the settings it belongs to
    (flat keys). `applies` tells, for a RunConfig, whether the setting means anything. `needs`
    names an optional package. `own` marks finetui's own additions to the published convention.
    `secret` values are read and used and never written.
    """

    label: str
    section: str
    help: str
    level: Level = "all"
    higher: str = ""
    lower: str = ""
    usual: str = ""
    usual_for: Mapping[str, str] = field(default_factory=dict)
    goes_with: tuple[str, ...] = ()
    unit: str = ""
    choices: tuple[str, ...] = ()
    applies: Callable[[Any], bool] | None = None
    needs: str = ""
    own: bool = False
    secret: bool = False


def setting(
    default: Any,
    *,
    label: str,
    section: str,
    help: str,
    level: Level = "all",
    higher: str = "",
    lower: str = "",
    usual: str = "",
    usual_for: Mapping[str, str] | None = None,
    goes_with: tuple[str, ...] = (),
    unit: str = "",
    choices: tuple[str, ...] = (),
    applies: Callable[[Any], bool] | None = None,
    needs: str = "",
    own: bool = False,
    secret: bool = False,
    **bounds: Any,
) -> Any:
    """Declare a RunConfig field. `bounds` are pydantic's: ge, gt, le, lt."""
    meta = Setting(
        label=label,
        section=section,
        help=help,
        level=level,
        higher=higher,
        lower=lower,
        usual=usual,
        usual_for=usual_for or {},
        goes_with=goes_with,
        unit=unit,
        choices=choices,
        applies=applies,
        needs=needs,
        own=own,
        secret=secret,
    )
    info = Field(default, description=help, repr=not secret, **bounds)
    info.metadata.append(meta)
    return info


def setting_of(info: FieldInfo) -> Setting:
    """The `Setting` that a field was declared with."""
    for item in info.metadata:
        if isinstance(item, Setting):
            return item
    raise TypeError("the field was not declared with setting()")
