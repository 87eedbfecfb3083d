"""Connections to PostgreSQL, with a user and password that may change, and a limit of silence."""

import re
import select
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import psycopg

from files.circuit import Circuit, UnavailableError
from project.postgresql.credentials import Credentials, RefusedError
from project.signals import database_connected

PROBE_TIMEOUT = 2  # seconds, the least that libpq takes
FULL_WAIT = 2  # seconds that a web request waits for a server that has no connection left
FULL_PAUSE = 0.1  # seconds until it asks again

# A connection that is not made has no SQLSTATE: a server that says so in another language is not
# waited for.
_FULL = re.compile("too many (clients|connections)|connection slots are reserved")

T = TypeVar("T")

# Those of the addresses that the connect of this thread has tried.
_errors: ContextVar[list[psycopg.Error]] = ContextVar("errors")


# Until a connection has been made nobody knows how to probe.
circuit = Circuit("The database", probe=lambda: True, share=0.75)


class DatabaseUnavailableError(UnavailableError, psycopg.OperationalError):
    """What is not even asked, since the database is out or too many wait for it."""


@contextmanager
def _waiting() -> Iterator[None]:
    """Be one of those that wait for the database. Raises DatabaseUnavailableError."""
    try:
        circuit.enter()
    except UnavailableError as error:
        raise DatabaseUnavailableError(str(error)) from None
    try:
        yield
    except (SilenceError, psycopg.errors.ConnectionTimeout):
        circuit.note(has_answered=False)
        raise
    else:
        circuit.note(has_answered=True)
    finally:
        circuit.leave()


class SilenceError(psycopg.OperationalError):
    """A server that has not answered for long."""


class FullError(psycopg.OperationalError):
    """A server that has no connection left, for this user or for any."""


class Connection(psycopg.Connection[Any]):
    """A connection that `credentials` make, and that gives a silent server up after `patience`.

    A server that is stopped, or whose machine is frozen, still acknowledges TCP, so that no limit
    of the network or of the server itself ends the wait for it.
    """

    patience: float | None = None  # seconds

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        credentials: Credentials | None = None,
        patience: float | None = None,
        **params: Any,
    ) -> Self:
        """Connect as psycopg does. Raises psycopg.OperationalError."""
        connect = partial(cls._connect, conninfo, **params)
        circuit.probe = partial(_answers, connect, credentials)

        def connect_as(**login: str) -> Any:
            with _waiting():  # not while a secret is asked for
                return _connect_once_free(partial(connect, **login), FULL_WAIT if patience else 0)

        if credentials is None:
            connection: Self = connect_as()
        else:
            connection = credentials.connect(
                lambda user, password: connect_as(user=user, password=password)
            )
        connection.patience = patience
        return connection

    @classmethod
    def _connect(cls, conninfo: str, **params: Any) -> Self:
        """Connect to the first address that lets the user in.

        What is raised has no frames of psycopg, where the password is in plain text.
        """
        errors: list[psycopg.Error] = []
        _errors.set(errors)
        try:
            connection = super().connect(conninfo, **params)
        except psycopg.Error as error:
            found = error.with_traceback(None)
        else:
            database_connected.send(sender=None, outcome="done")
            return connection
        database_connected.send(sender=None, outcome="failed")
        if _FULL.search(str(found)):
            found = FullError(str(found))
        elif any(error.pgconn and error.pgconn.used_password for error in errors):
            found = RefusedError(str(found))
        raise found

    @classmethod
    def _connect_gen(cls, *args: Any, **options: Any) -> Generator[Any, Any, Self]:
        """Connect to one address: of several, psycopg tells the error of the last alone."""
        try:
            return (yield from super()._connect_gen(*args, **options))
        except psycopg.Error as error:
            _errors.get().append(error)
            raise

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait for the server. Raises psycopg.OperationalError, and closes, after `patience`."""
        if not self.patience:
            return super().wait(gen, *args, **options)
        with _waiting():
            return super().wait(impatient(self, gen, self.patience), *args, **options)

    def has_news(self) -> bool:
        """Return whether the server has sent anything unasked, such as the end of the session."""
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))


def impatient(
    connection: psycopg.BaseConnection[Any], gen: Generator[Any, Any, T], seconds: float
) -> Generator[Any, Any, T]:
    """Go on as `gen` does; psycopg sends 0 ten times a second while there is nothing.

    Raises SilenceError, and closes the connection, after so many seconds with nothing.
    """
    end = monotonic() + seconds
    try:
        state = next(gen)
        while True:
            ready = yield state
            if ready:
                end = monotonic() + seconds
            elif monotonic() > end:
                connection.pgconn.finish()
                raise SilenceError(f"the database has not answered for {seconds:g} s")
            state = gen.send(ready)
    except StopIteration as result:
        found: T = result.value
        return found


def _connect_once_free(connect: Callable[[], T], seconds: float) -> T:
    """Return what it returns, which it may have to be asked for again. Raises what it raises."""
    end = monotonic() + seconds
    while True:
        try:
            return connect()
        except FullError:
            if monotonic() > end:
                raise
        sleep(FULL_PAUSE)


def _answers(connect: Callable[..., Connection], credentials: Credentials | None) -> bool:
    """Return whether a new connection gets as far as the password."""
    login = credentials.login()._asdict() if credentials else {}
    try:
        connect(connect_timeout=PROBE_TIMEOUT, **login).close()
    except (FullError, RefusedError):
        return True
    except psycopg.OperationalError:
        return False
    return True
