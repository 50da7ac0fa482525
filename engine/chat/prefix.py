"""The keys and values of the tokens read so far, kept from one turn to the next."""

from __future__ import annotations

from typing import Any


class KeptPrefix:
    """A `DynamicCache` and the ids that it holds, cut back to what a new prompt begins with.

    A conversation's next prompt repeats all earlier turns, so only what is new is computed. Gives
    the same as an empty cache (LIBRARIES.md). Models whose layers can't be cut back (a sliding
    window that has moved on, recurrent state) begin anew.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self.ids: list[int] = []

    def take(self, prompt: list[int]) -> tuple[Any, list[int]]:
        """The cache for `prompt`, and the ids that still have to be read (at least one)."""
        shared = 0
        # The last token is always read again: its logits are not kept.
        for mine, theirs in zip(self.ids, prompt[:-1], strict=False):
            if mine != theirs:
                break
            shared += 1
        if self._cache is None or not self._cut_to(shared):
            self._begin()
            shared = 0
        self.ids = prompt[:shared]
        return self._cache, prompt[shared:]

    def read(self, ids: list[int]) -> None:
        """`ids` were put through the model and stand in the cache now."""
        self.ids += ids

    def drop(self) -> None:
        """Forget everything: a pass broke off, or the memory is wanted back."""
        self._cache = None
        self.ids = []

    def _cut_to(self, length: int) -> bool:
        if length == 0:
            return False
        extra = len(self.ids) - length
        if extra == 0:
            return True
        if not self._cache.is_croppable:
            return False
        try:
            self._cache.crop(-extra)
        except RuntimeError:  # a sliding window that has moved on
            return False
        return True

    def _begin(self) -> None:
        from transformers import DynamicCache

        self._cache = DynamicCache(config=self._model.config)
