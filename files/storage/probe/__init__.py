"""What the S3 at hand keeps of what the project expects of it.

Each promise has a name, by which `probe` asks for it.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from files.storage.probe import access, keys, reads, rules, writes
from files.storage.probe.ground import Ground
from files.storage.probe.promises import PROMISES, Promise, Result

if TYPE_CHECKING:
    from files.storage.backend import ObjectStorage

__all__ = [
    "PROMISES",
    "QUICK",
    "Promise",
    "Result",
    "access",
    "keys",
    "probe",
    "reads",
    "rules",
    "writes",
]

# A few requests: what `check --deploy` asks for.
QUICK = (
    *("permissions", "clock", "CORS", "open CORS", "privacy", "public access"),
    *("versioning", "lifecycle"),
)


def probe(
    storage: "ObjectStorage",
    names: Iterable[str] | None = None,
    say: Callable[[Result], object] = lambda result: None,
) -> list[Result]:
    """Find out which promises S3 keeps, all of them or those of these names.

    `say` gets each result at once. What is written below `.files/` for it is deleted again. Raises
    PermissionError, FileNotFoundError, S3UnavailableError and S3Error where the bucket cannot be
    asked at all, KeyError for a name that there is not.
    """
    chosen = [PROMISES[name] for name in (PROMISES if names is None else names)]
    found = []
    with Ground(storage) as ground:
        for promise in chosen:
            found.append(promise.ask(ground))
            say(found[-1])
    return found
