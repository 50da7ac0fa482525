"""How one setting is declared: once, with all that form, files and documentation need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, TypeVar, dataclass_transform

Level = Literal["basic", "all", "hidden"]
Bound = int | float | None
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its type and default (which its dataclass field keeps).

    `section` is the form section. `level` basic stands in the short form, all in the long one,
    hidden only in files and on the command line. `help` is one sentence; `higher` and `lower` say
    what a higher and a lower value do; `usual` gives usual values, `usual_for` those of one
    stage or method (dpo, lora, …) where they differ, the stage's first; `goes_with` names the
    settings it belongs to (flat keys). `applies` tells, for a RunConfig, whether the setting means
    anything. `needs` names the extra that brings what it takes. `own` marks finetui's own additions
    to the published convention. `secret` values are read and used and never written. `ge`, `gt`,
    `le` and `lt` bound a number: at least, above, at most, below.
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
    ge: Bound = None
    gt: Bound = None
    le: Bound = None
    lt: Bound = None


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
    ge: Bound = None,
    gt: Bound = None,
    le: Bound = None,
    lt: Bound = None,
) -> Any:
    """Declare a RunConfig field; the words are those of `Setting`. A dict default is copied."""
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
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
    )
    metadata = {"setting": meta}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
def group(cls: type[T]) -> type[T]:
    """Mark a class as a group of settings. It is never instantiated; `described` gathers them."""
    return cls


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
def described(cls: type[T]) -> type[T]:
    """Make a frozen dataclass out of the settings of a class and of the groups it inherits from.

    The last base's settings come first. Constructor, comparison and printing are plain functions
    over the fields: those that dataclass writes and compiles for hundreds of them would be paid
    for before the screen's first frame.
    """
    declared = {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in list(vars(base).items())
        if isinstance(value, Field)
    }
    for name, value in declared.items():
        setattr(cls, name, value)
    cls.__annotations__ = dict.fromkeys(declared, "Any")
    made = dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False, match_args=False)(
        cls
    )
    plain: Any = made
    plain.__init__ = _init
    plain.__eq__ = _eq
    plain.__repr__ = _repr
    plain.__hash__ = None  # it holds a mapping
    return made


def _init(self: Any, **values: Any) -> None:
    held = self.__dict__
    for name, declared in self.__dataclass_fields__.items():
        if name in values:
            held[name] = values.pop(name)
        elif declared.default_factory is not MISSING:
            held[name] = declared.default_factory()
        else:
            held[name] = declared.default
    if values:
        raise TypeError(f"{type(self).__name__} has no setting {', '.join(values)}")


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return self.__dict__ == other.__dict__


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__name__}({', '.join(shown)})"


def setting_of(declared: Field[Any]) -> Setting:
    """The `Setting` that a field was declared with."""
    found = declared.metadata.get("setting")
    if not isinstance(found, Setting):
        raise TypeError(f"{declared.name} was not declared with setting()")
    return found
