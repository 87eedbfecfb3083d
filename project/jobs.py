"""procrastinate on our connections, whose password may rotate."""

from typing import Any

from django.db import connection
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django.django_connector import DjangoConnector

from project.postgresql.asynchronous import AsyncConnection


class Connector(DjangoConnector):
    """Django's connection for what is asked in this process, a pool of ours for a worker."""

    def get_worker_connector(self) -> PsycopgConnector:
        """Return the pool, which connects as the database of the settings says."""
        return PsycopgConnector(kwargs=parameters_of_workers(), connection_class=AsyncConnection)


def parameters_of_workers() -> dict[str, Any]:
    """Return what the connections of the pool are made by."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "patience"):
        parameters.pop(name, None)
    return parameters


def connect(app: App) -> None:
    """Let the app use our connector: procrastinate calls this once it is ready."""
    app.connector = app.job_manager.connector = Connector()
