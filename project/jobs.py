"""procrastinate on our connections, whose password may rotate."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import connection
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.manager import JobManager
from psycopg.errors import RaiseException

from project.postgresql.asynchronous import AsyncConnection

TAKEN = "A job was given to others, since nothing was heard of this worker for long."

logger = logging.getLogger(__name__)


class Connector(DjangoConnector):
    """Django's connection for what is asked in this process, a pool of ours for a worker."""

    def get_worker_connector(self) -> PsycopgConnector:
        """Return the pool, which connects as the database of the settings says."""
        return PsycopgConnector(kwargs=parameters_of_workers(), connection_class=AsyncConnection)


class Manager(JobManager):
    """Writes what has become of a job, which nobody would ask for again."""

    async def finish_job(self, *arguments: Any, **options: Any) -> None:
        """Write that it has ended."""
        await _written(lambda: super(Manager, self).finish_job(*arguments, **options))

    async def retry_job(self, *arguments: Any, **options: Any) -> None:
        """Write when it is tried again."""
        await _written(lambda: super(Manager, self).retry_job(*arguments, **options))


async def _written(write: Callable[[], Awaitable[None]]) -> None:
    """Write it, once more where the connection is lost just then.

    Others may have it by now, where nothing was heard of this worker for long.
    """
    try:
        try:
            await write()
        except ConnectorException as error:
            if isinstance(error.__cause__, RaiseException):
                raise
            await write()
    except ConnectorException as error:
        if not isinstance(error.__cause__, RaiseException):
            raise
        logger.warning(TAKEN)


def parameters_of_workers() -> dict[str, Any]:
    """Return what the connections of the pool are made by."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "patience"):
        parameters.pop(name, None)
    return parameters


def connect(app: App) -> None:
    """Let the app use our connector: procrastinate calls this once it is ready."""
    app.connector = Connector()
    app.job_manager = Manager(app.connector)
