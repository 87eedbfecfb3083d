"""What a process that serves the web has beside the settings: wsgi.py and asgi.py begin with it."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from files.circuit import Circuit
from project.postgresql.connection import Connection

POOL_WAIT = 5  # seconds until a request that gets no connection ends with 503


def prepare() -> None:
    """Check that there is something to serve, and set how it asks the database.

    Raises ImproperlyConfigured.
    """
    if not settings.CONFIGURED:
        raise ImproperlyConfigured(settings.NOTHING_TO_WORK_ON)
    Circuit.threads = settings.THREADS
    database = settings.DATABASES["default"]
    if settings.DATABASE_POOL:
        database["CONN_MAX_AGE"] = 0
        database["OPTIONS"]["pool"] = {
            "connection_class": Connection,
            "min_size": 1,
            "max_size": settings.DATABASE_POOL,
            "timeout": POOL_WAIT,
            "reconnect_timeout": POOL_WAIT,  # after which the next request tries again at once
        }
