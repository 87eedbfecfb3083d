"""Signals that end a service between two pieces of its work."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(BaseException):
    """The service was told to stop while it waited."""


class Stopping:
    """Lets SIGTERM and Ctrl-C raise StoppedError, but only while the service waits.

    `number` is that of the signal, 0 before one has come.
    """

    def __init__(self) -> None:
        self.number = 0
        self._is_waiting = False

    def __enter__(self) -> Self:
        self._former: dict[int, Any] = {
            number: signal.signal(number, self._heed) for number in NUMBERS
        }
        return self

    def __exit__(self, *about: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Take a signal inside, or one that has come already."""
        self._is_waiting = True
        try:
            if self.number:
                raise StoppedError
            yield
        finally:
            self._is_waiting = False

    def _heed(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if self._is_waiting:
            raise StoppedError
