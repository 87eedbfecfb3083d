"""gunicorn's configuration, for those who serve WSGI: `gunicorn project.wsgi` here reads it.

It needs a proxy in front that buffers requests and answers, since a thread belongs to a client
until it has sent and read all. Any of it can be changed by GUNICORN_CMD_ARGS, as `--workers=8`.
"""

import os
from contextlib import suppress

from project import cpus

bind = os.environ.get("APP_BIND") or "0.0.0.0:8000"
worker_class = "gthread"
workers = int(os.environ.get("APP_WORKERS") or 0) or cpus.usable()
threads = int(os.environ.get("APP_THREADS") or 16)
preload_app = False  # so that SIGHUP loads code and password anew
timeout = 60  # of the main thread alone: threads that hang are not noticed
graceful_timeout = int(os.environ.get("APP_GRACE") or 30)
keepalive = 75
control_socket_disable = True
logconfig_dict = {  # of gunicorn's own lines; the site's are set by Django
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "formatters": {"json": {"()": "project.logs.JSONFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        "gunicorn.error": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "gunicorn.access": {"propagate": False},
    },
}
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108


def on_starting(server):
    """Let the workers share the folder of the metrics."""
    if os.environ.get("APP_METRICS"):
        with suppress(ModuleNotFoundError):  # which a worker says better
            import project.metrics  # noqa: F401


def child_exit(server, worker):
    """Let the metrics count a worker that has ended as no process any more."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
