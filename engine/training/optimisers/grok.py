"""GrokAdamW with a state that can be saved (the package grokadamw).

It keeps its moments in its groups under the weights themselves, where a loaded state is not found
again: here they are numbered while they are saved.
"""

from __future__ import annotations

from typing import Any

from grokadamw import GrokAdamW

_KEY = "state"


class SavedGrokAdamW(GrokAdamW):
    """GrokAdamW, moments by number in `state_dict`."""

    def state_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().state_dict()
        for packed, group in zip(found["param_groups"], self.param_groups, strict=True):
            moments = group.get(_KEY, {})
            packed[_KEY] = {
                number: moments[parameter]
                for number, parameter in enumerate(group["params"])
                if parameter in moments
            }
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group[_KEY] = {
                group["params"][number]: moments for number, moments in group[_KEY].items()
            }
