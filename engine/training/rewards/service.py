"""Scores from a service on the network, in the form that the usual tool's services speak.

A POST of `{"model": "model", "messages": ["prompt and answer as text", …]}` is answered by
`{"scores": [1.5, …]}`, one number a message. The texts keep their special tokens.
"""

from __future__ import annotations

import json
import math
import queue
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, JobFault, Problem

if TYPE_CHECKING:
    import torch

SECONDS = 120.0
_REACH_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_MOST_BYTES = 64 << 20


class RewardService:
    """The service at `address`; `tokenizer` turns rows of tokens into its messages.

    Raises BadInput, when it is made, for an address where nobody listens.
    """

    def __init__(self, address: str, tokenizer: Any, seconds: float = SECONDS) -> None:
        self.address = address
        self._tokenizer = tokenizer
        self._seconds = seconds
        self._reach()

    def score(
        self, rows: Sequence[Sequence[int]], check: Callable[[], object] = lambda: None
    ) -> torch.Tensor:
        """The scores (rows,) in fp32. `check` is asked while the service thinks, and may raise.

        Raises JobFault for a service that fails, takes longer than its time, or answers in
        another form.
        """
        import torch

        if not rows:
            return torch.zeros(0)
        texts = self._tokenizer.batch_decode([list(r) for r in rows], skip_special_tokens=False)
        return torch.tensor(self.ask(texts, check), dtype=torch.float32)

    def ask(self, texts: list[str], check: Callable[[], object] = lambda: None) -> list[float]:
        """A score for each text."""
        # The answer is waited for on another thread, so that a stop comes through meanwhile.
        answers: queue.Queue[bytes | BaseException] = queue.Queue()

        def post() -> None:
            try:
                answers.put(self._post(texts))
            except (OSError, ValueError) as error:
                answers.put(error)

        threading.Thread(target=post, name="reward service", daemon=True).start()
        while True:
            check()
            try:
                answer = answers.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                continue
        if isinstance(answer, BaseException):
            raise self._fault(self._why(answer)) from answer
        return self._read(answer, len(texts))

    def _post(self, texts: list[str]) -> bytes:
        body = json.dumps({"model": "model", "messages": texts}).encode("utf-8")
        request = urllib.request.Request(
            self.address, body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self._seconds) as answer:
            found: bytes = answer.read(_MOST_BYTES)
            return found

    def _read(self, answer: bytes, wanted: int) -> list[float]:
        try:
            scores = json.loads(answer)["scores"]
        except (ValueError, KeyError, TypeError):
            start = answer[:80].decode("utf-8", "replace")
            raise self._fault(f"answered with something else than scores: {start!r}") from None
        if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
            raise self._fault("answered with scores that are not a list of numbers")
        if len(scores) != wanted:
            raise self._fault(f"gave {len(scores)} scores for {wanted} messages")
        return [float(score) for score in scores]

    def _why(self, error: BaseException) -> str:
        if isinstance(error, urllib.error.HTTPError):
            return f"answered with the status {error.code} ({error.reason})"
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return f"did not answer within {self._seconds:g} seconds"
        return f"can't be reached: {reason}"

    def _fault(self, what: str) -> JobFault:
        return JobFault(
            Problem(
                f"The reward service {what}.",
                where=self.address,
                hint='It is sent {"model": "model", "messages": [texts]} and must answer '
                '{"scores": [numbers]}, one a text. Mend it, then resume.',
                setting="reward_model",
            )
        )

    def _reach(self) -> None:
        """Find out at once, and not after the first batch of answers, that nobody is there."""
        parts = urllib.parse.urlsplit(self.address)
        try:
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            host, port = None, 0
        if parts.scheme not in ("http", "https") or not host:
            raise self._unusable("The address of the reward service is no http address.")
        if parts.scheme in urllib.request.getproxies():
            return  # whoever has to be reached is somebody else
        try:
            socket.create_connection((host, port), timeout=_REACH_SECONDS).close()
        except OSError as error:
            raise self._unusable(f"The reward service can't be reached: {error}.") from error

    def _unusable(self, what: str) -> BadInput:
        hint = "Start the service first, and give its address, such as http://127.0.0.1:8000/score."
        return BadInput(Problem(what, where=self.address, hint=hint, setting="reward_model"))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
