"""How far a command is: on a terminal, in a pipe, or in the row of a range that a worker has."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand
from django.template.defaultfilters import filesizeformat

from files.runs import Range, RangeStoppedError

LINE_INTERVAL = 10  # seconds between two lines where there is no terminal
ROW_INTERVAL = 1  # seconds between two writes of a row


class Progress:
    """What is done, counted as it is done, and shown to nobody. Threads may share it."""

    def __init__(self, unit: str) -> None:
        self.done = self.bytes = 0
        self.place = ""  # where in a known whole
        self.reached = ""  # the key up to which nothing is left to be done
        self._unit = unit
        self._lock = threading.RLock()

    def advance(self, number: int = 1, size: int = 0) -> None:
        """Note that so many more are done, of so many bytes in all."""
        with self._lock:
            self.done += number
            self.bytes += size

    def settle(self, upto: str = "") -> None:
        """Note that what was counted and printed is not done again, nor anything up to the key."""
        self.reached = upto or self.reached

    def heed_stop(self) -> None:
        """Raise RangeStoppedError where the worker is to end, or the run."""

    def print(self, text: str, *, to_stderr: bool = False) -> None:
        """Print a line, not in the middle of what is shown."""

    def clear(self) -> None:
        """Make place for a line that is printed by others."""

    def close(self) -> None:
        """End what is shown."""

    def __str__(self) -> str:
        parts = [count(self.done, self._unit, f"{self._unit}s"), self._more()]
        return ", ".join(part for part in parts if part)

    def _more(self) -> str:
        parts = [filesizeformat(self.bytes) if self.bytes else "", self.place]
        return ", ".join(part for part in parts if part)


class ShownProgress(Progress):
    """A bar on a terminal, a line on stderr now and then elsewhere."""

    def __init__(self, command: BaseCommand, unit: str, total: int | None, is_shown: bool) -> None:
        from tqdm import tqdm

        super().__init__(unit)
        self._command, self._is_shown = command, is_shown
        self._began = self._told = time.monotonic()
        out: Any = command.stderr._out
        self._bar = tqdm(
            file=out,
            total=total,
            unit=f" {unit}s",
            unit_scale=True,
            leave=False,
            disable=not (is_shown and command.stderr.isatty()),
        )

    def advance(self, number: int = 1, size: int = 0) -> None:
        with self._lock:
            super().advance(number, size)
            if not self._bar.disable:
                self._bar.set_postfix_str(self._more(), refresh=False)
            self._bar.update(number)
            now = time.monotonic()
            if self._bar.disable and self._is_shown and now - self._told >= LINE_INTERVAL:
                self._told = now
                rate = self.done / (now - self._began)
                self._command.stderr.write(f"{self}, {rate:,.0f}/s", str)

    def print(self, text: str, *, to_stderr: bool = False) -> None:
        with self._lock:
            self.clear()
            (self._command.stderr if to_stderr else self._command.stdout).write(text)

    def clear(self) -> None:
        self._bar.clear()

    def close(self) -> None:
        self._bar.close()


class RangeProgress(Progress):
    """The row of a range, written at each page of keys and once a second.

    Whoever goes on with the range begins there.
    """

    def __init__(
        self, part: Range, unit: str, counts: Counter[str], should_stop: Callable[[], bool]
    ) -> None:
        super().__init__(unit)
        self.done, self.bytes, self.reached = part.done, part.bytes, part.reached
        self._part, self._counts, self._should_stop = part, counts, should_stop
        self._lines: list[str] = []
        self._written = time.monotonic()

    def print(self, text: str, *, to_stderr: bool = False) -> None:
        self._lines.append(text)

    def settle(self, upto: str = "") -> None:
        super().settle(upto)
        if upto or time.monotonic() - self._written >= ROW_INTERVAL:
            self.write()
        self.heed_stop()

    def heed_stop(self) -> None:
        if self._should_stop():
            raise RangeStoppedError

    def write(self) -> None:
        """Write the row. Raises RangeTakenError where another worker has it by now."""
        self._written = time.monotonic()
        lines, self._lines = self._lines, []
        self._part.note(self.done, self.bytes, self._counts, self.reached, lines)


def count(number: int, one: str, many: str) -> str:
    """Return "1 row", "2,000 rows" and the like."""
    return f"{number:,} {one if number == 1 else many}"
