"""What a server waits for, and what may be slow or out: S3, the database and a CPU."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from files.signals import circuit_changed

FAILURES = 2  # one after the other, of requests that got no answer
PROBE_INTERVAL = 0.5  # seconds

logger = logging.getLogger(__name__)


class UnavailableError(Exception):
    """Nobody should wait now: it is out, or too many wait already."""


class Bulkhead:
    """Lets only the `share` of a server's threads wait for one thing, so that the others go on.

    More of them wait for their turn while those move on, and are refused once none of those has
    for `patience` seconds. A process without `threads`, such as a command, refuses nothing.
    """

    threads: ClassVar[int | None] = None

    def __init__(self, name: str, share: float = 0.5, patience: float = 0.3) -> None:
        self.name = name
        self._share, self._patience = share, patience
        self._changed = threading.Condition()
        self._waiting = 0
        self._moved = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Be one of those that wait. Raises UnavailableError."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Begin to wait. Raises UnavailableError."""
        with self._changed:
            while not self._has_room():
                rest = self._moved + self._patience - time.monotonic()
                if rest <= 0:
                    raise UnavailableError(f"{self._waiting} requests wait for {self.name} already")
                self._changed.wait(rest)
            self._waiting += 1
            self._moved = time.monotonic()

    def leave(self) -> None:
        """Wait no more."""
        with self._changed:
            self._waiting -= 1
            self._moved = time.monotonic()
            self._changed.notify()

    def _has_room(self) -> bool:
        return self.threads is None or self._waiting < max(1, int(self.threads * self._share))


class Circuit(Bulkhead):
    """A bulkhead and a circuit breaker before one service.

    Where two requests in turn got no answer the service counts as out, and `probe`, which returns
    whether it answers, is called twice a second until it does.
    """

    def __init__(self, name: str, probe: Callable[[], bool], share: float = 0.5) -> None:
        super().__init__(name, share)
        self.is_out = False
        self.probe = probe
        self._failures = 0

    def _has_room(self) -> bool:
        if self.is_out and self.threads is not None:
            raise UnavailableError(f"{self.name} is out of reach, as was found out just now")
        return super()._has_room()

    def note(self, has_answered: bool) -> None:
        """Say how a request has ended."""
        with self._changed:
            self._failures = 0 if has_answered else self._failures + 1
            if self._failures < FAILURES or self.is_out or self.threads is None:
                return
            self.is_out = True
            self._changed.notify_all()
        logger.warning("%s is out of reach: requests that need it are refused.", self.name)
        circuit_changed.send(sender=None, name=self.name, is_out=True)
        threading.Thread(target=self._wait, name=f"probe of {self.name}", daemon=True).start()

    def _wait(self) -> None:
        while not self._answers():
            time.sleep(PROBE_INTERVAL)
        with self._changed:
            self.is_out, self._failures = False, 0
        logger.warning("%s answers again.", self.name)
        circuit_changed.send(sender=None, name=self.name, is_out=False)

    def _answers(self) -> bool:
        try:
            return self.probe()
        except Exception:
            logger.exception("The probe of %s fails.", self.name)
            return False
