"""Waiting for what another process or thread does: what is told after an answer, for one."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(found: Callable[[], T], seconds: float = 30) -> T:
    """Return what the function returns, as soon as that is true; it is asked again and again."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"Nothing within {seconds} seconds: {value!r}."
        time.sleep(0.02)
    return value


def eventually(found: Callable[[], object], wanted: object, seconds: float = 30) -> None:
    """Return when the function returns what is wanted."""
    end = time.monotonic() + seconds
    while (value := found()) != wanted:
        assert time.monotonic() < end, value
        time.sleep(0.02)
