"""What is under way, such as a request: what is logged and audited meanwhile names it.

It stands in a context variable, which threads do not inherit: who hands work on to one hands the
context on too.
"""

import getpass
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Activity:
    """A request, and what becomes of it. A process that serves nobody has none."""

    id: str
    client: str  # address
    find_user: Callable[[], Any]  # which asks no database: None for one that nobody has asked for
    file_id: int | None = None
    s3_requests: int = 0
    s3_seconds: float = 0.0
    status: int = 0
    sent: int = 0  # bytes of the body that the server has taken
    is_whole: bool = True  # whether it has taken all of them
    at_end: list[Callable[[], None]] = field(default_factory=list)

    def user(self) -> dict[str, Any] | None:
        """Return id and name of the user who has logged in, and the id of a program's token."""
        user = self.find_user()
        if user is None or not user.is_authenticated:
            return None
        found = {"id": user.pk, "name": user.get_username()}
        token = getattr(user, "token", None)
        return found if token is None else {**found, "token": token.pk}


_current: ContextVar[Activity | None] = ContextVar("activity", default=None)


def current() -> Activity | None:
    """Return the activity that this is part of."""
    return _current.get()


def become(activity: Activity | None) -> None:
    """Let what follows in this context be part of the activity."""
    _current.set(activity)


_copied: ContextVar[Callable[[int, int], None]] = ContextVar("copied")


def watch_copies(copied: Callable[[int, int], None]) -> None:
    """Let `copied` be called in this context when a part of a large object has been copied."""
    _copied.set(copied)


def tell_copied(done: int, parts: int) -> None:
    """Tell who watches how many of the parts have been copied."""
    copied = _copied.get(None)
    if copied is not None:
        copied(done, parts)


def actor() -> dict[str, Any] | None:
    """Return who does this: the user of the request, or that of the system and the command."""
    activity = _current.get()
    if activity is not None:
        return activity.user()
    return {"id": None, "name": f"{_system_user()}, {' '.join(['manage.py', *sys.argv[1:2]])}"}


def actor_name() -> str:
    """Return the name of who does this, empty for nobody known, in 255 characters."""
    found = actor()
    return found["name"][:255] if found else ""


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # such as in a container, for a number that has no name
        return "nobody known"
