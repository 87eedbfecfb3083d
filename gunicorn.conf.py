"""gunicorn's configuration, for those who serve WSGI: `gunicorn project.wsgi` here reads it.

It needs a proxy in front that buffers requests and answers, since a thread belongs to a client
until it has sent and read all. Any of it can be changed by GUNICORN_CMD_ARGS, as `--workers=8`.
"""

import os

from project import cpus

bind = os.environ.get("APP_BIND") or "0.0.0.0:8000"
worker_class = "gthread"
workers = int(os.environ.get("APP_WORKERS") or 0) or cpus.usable()
threads = int(os.environ.get("APP_THREADS") or 16)
preload_app = False  # so that SIGHUP loads code and password anew
timeout = 60  # of the main thread alone: threads that hang are not noticed
graceful_timeout = int(os.environ.get("APP_GRACE") or 30)
keepalive = 75
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
accesslog = "-"
