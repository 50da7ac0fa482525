"""The second thread: questions that need no device, answered while a job runs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Question:
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    key: str | None


class Lookups:
    """Answers questions in order on one daemon thread.

    A question with a `key` replaces the one of the same key that still waits (its future is
    cancelled): while a person scrolls, only the row they stopped at is worth computing.
    """

    def __init__(self, name: str = "finetui-lookups") -> None:
        self._name = name
        self._waiting: deque[_Question] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, function: Callable[..., T], *args: Any, key: str | None = None) -> Future[T]:
        """Compute `function(*args)` on the second thread; what it raises is the future's."""
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                future.cancel()
                return future
            if key is not None:
                for question in [q for q in self._waiting if q.key == key]:
                    self._waiting.remove(question)
                    question.future.cancel()
            self._waiting.append(_Question(future, function, args, key))
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
            self._wake.notify()
        return future

    def close(self) -> None:
        """Cancel what waits; the question in hand is not waited for."""
        with self._wake:
            self._closed = True
            for question in self._waiting:
                question.future.cancel()
            self._waiting.clear()
            self._wake.notify()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                question = self._waiting.popleft()
            if not question.future.set_running_or_notify_cancel():
                continue
            try:
                answer = question.function(*question.args)
            except BaseException as error:  # the asker's to handle, whatever it is
                question.future.set_exception(error)
            else:
                question.future.set_result(answer)
            del question
