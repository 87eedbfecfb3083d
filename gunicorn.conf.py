"""gunicorn's configuration: `gunicorn project.wsgi` in this folder reads it.

Any of it can be changed by GUNICORN_CMD_ARGS, as `--workers=8`.
"""

import os

bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = os.cpu_count() or 1
threads = int(os.environ.get("APP_THREADS", "16"))
# One start for all workers: what is missing ends it with one sentence, and memory is shared.
preload_app = True
# A thread waits for S3 at most 30 s before the first byte; a worker that hangs longer is replaced.
timeout = 60
graceful_timeout = 30
keepalive = 75
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108


def child_exit(server, worker):
    """Let the metrics count a worker that has ended as no process any more."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
