"""What a process that serves the web has beside the settings: wsgi.py and asgi.py begin with it."""

import logging
import os
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from files.circuit import Bulkhead
from project.postgresql.connection import Connection

# Seconds, all of them less than the 10 s in which every page has ended. The server ends a statement
# before this process gives it up.
LOCK_TIMEOUT = 3
STATEMENT_TIMEOUT = 7
PATIENCE = 8
TCP_TIMEOUT = 5

METRICS = "PROMETHEUS_MULTIPROC_DIR"  # the variable with their folder, where they are counted
POOL_WAIT = 5  # seconds until a request that gets no connection ends with 503


def prepare() -> None:
    """Check that there is something to serve, and set how it asks the database.

    Raises ImproperlyConfigured.
    """
    if not settings.CONFIGURED:
        raise ImproperlyConfigured(settings.NOTHING_TO_WORK_ON)
    Bulkhead.threads = settings.THREADS
    if not settings.DEBUG:
        _log_requests(settings.LOGGING)
    if settings.METRICS:
        _connect_metrics()
    database = settings.DATABASES["default"]
    limits = {
        "statement_timeout": f"{STATEMENT_TIMEOUT}s",
        "lock_timeout": f"{LOCK_TIMEOUT}s",
        "idle_in_transaction_session_timeout": "60s",
    }
    options = [f"-c {name}={value}" for name, value in limits.items()]
    database["OPTIONS"] |= {
        "fallback_application_name": "files",
        "options": " ".join([os.environ.get("PGOPTIONS", ""), *options]),
        "patience": PATIENCE,
        "tcp_user_timeout": TCP_TIMEOUT * 1000,
    }
    if settings.DATABASE_POOL:
        database["CONN_MAX_AGE"] = 0
        database["OPTIONS"]["pool"] = {
            "connection_class": Connection,
            "min_size": 1,
            "max_size": settings.DATABASE_POOL,
            "timeout": POOL_WAIT,
            "reconnect_timeout": POOL_WAIT,  # after which the next request tries again at once
        }


def _log_requests(config: dict[str, Any]) -> None:
    """Let the log be JSON on stderr, with a line for each request to S3, and the audit on stdout.

    A request of a client has its line from `project.requests`.
    """
    logging.captureWarnings(True)  # of Python, which are no JSON
    handlers = config["handlers"]
    for name in ("stderr", "stderr_line"):
        handlers[name]["formatter"] = "json"
    if "stream" in handlers["audit"]:
        handlers["audit"]["stream"] = "ext://sys.stdout"
    for name in ("files.s3", "project.requests"):
        config["loggers"][name] = {"level": "INFO"}
    # The line of the request has the status; an error has its traceback beside it.
    config["loggers"]["django.request"] = {"level": "ERROR"}


def _connect_metrics() -> None:
    """Count what the metrics tell. Raises ImproperlyConfigured."""
    try:
        from project import metrics
    except ModuleNotFoundError:
        raise ImproperlyConfigured(
            "APP_METRICS needs the package prometheus-client: install it, as by"
            " `uv sync --extra metrics`."
        ) from None
    metrics.connect()
