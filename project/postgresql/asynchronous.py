"""The connections of asyncio, as a pool of psycopg makes them."""

import asyncio
from collections.abc import Generator
from functools import partial
from typing import Any, Self, TypeVar

import psycopg

from project.postgresql.connection import Connection, impatient
from project.postgresql.credentials import Credentials

PATIENCE = 40  # seconds: whoever listens for notifications asks for something each 30 s

T = TypeVar("T")


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """A connection that `credentials` make; where they are refused, `Connection` finds others."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, credentials: Credentials | None = None, **params: Any
    ) -> Self:
        """Connect as psycopg does. Raises psycopg.OperationalError."""
        connect = partial(super().connect, conninfo, **params)
        if credentials is None:
            return await connect()
        try:
            return await connect(**credentials.login()._asdict())
        except psycopg.OperationalError:
            renew = partial(Connection.connect, conninfo, credentials=credentials, **params)
            (await asyncio.to_thread(renew)).close()
        return await connect(**credentials.login()._asdict())

    async def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """Wait for the server. Raises psycopg.OperationalError, and closes, after PATIENCE."""
        return await super().wait(impatient(self, gen, PATIENCE), *args, **options)
