"""The base of every group of settings: frozen, refusing unknown keys, flat on the outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """A group of settings. RunConfig inherits from all groups, so its keys are flat.

    The schema is built only for the class that is instantiated (`defer_build`): a group alone
    never is, and opening the screen should not pay for it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )
