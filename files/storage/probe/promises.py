"""What a promise is, and what is found out about one."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from files.storage.errors import S3UnavailableError
from files.storage.probe.ground import Ground

# Yields one clause for each way in which S3 breaks the promise.
Probe = Callable[[Ground], Iterator[str]]


class NotAskedError(Exception):
    """The promise cannot be kept or broken here: one clause that says why."""


class Promise(NamedTuple):
    """What the project expects of S3; `without` says what it does where that is not kept.

    Where `without` is empty, the project needs the promise.
    """

    name: str
    text: str
    without: str
    probe: Probe

    @property
    def is_needed(self) -> bool:
        return not self.without

    def ask(self, ground: Ground) -> "Result":
        """Find out whether it is kept. Raises S3UnavailableError."""
        try:
            faults = list(self.probe(ground))
        except S3UnavailableError:
            raise
        except PermissionError as error:
            return Result(self, None, f"not asked: {error.strerror}")
        except NotAskedError as error:
            return Result(self, None, str(error))
        except OSError as error:
            faults = [error.strerror or str(error)]
        return Result(self, not faults, "; ".join(faults) or self.text)


class Result(NamedTuple):
    """What was found out: `kept` is None where the promise could not be asked for."""

    promise: Promise
    kept: bool | None
    detail: str

    @property
    def told(self) -> str:
        """The detail, and what the project does without the promise."""
        if self.kept is False and self.promise.without:
            return f"{self.detail} ({self.promise.without})"
        return self.detail

    @property
    def is_broken(self) -> bool:
        """Whether the project needs the promise and does not get it."""
        return self.promise.is_needed and self.kept is False


PROMISES: dict[str, Promise] = {}  # by name, in the order in which they are asked for


def promise(name: str, text: str, without: str = "") -> Callable[[Probe], Probe]:
    """Register a probe as that of a promise."""

    def register(probe: Probe) -> Probe:
        PROMISES[name] = Promise(name, text, without, probe)
        return probe

    return register
