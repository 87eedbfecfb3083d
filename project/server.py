"""The server: `python -m project.server` serves project.asgi by uvicorn, in several processes.

APP_BIND, APP_WORKERS and APP_GRACE say where, how many, and for how long they may end. A process
that ends or hangs is replaced. SIGHUP replaces all, one after the other, with the code and the
password of that moment; the variables of the environment stay as they were at the start.
"""

import logging
import os
import resource
import socket
import sys
from time import monotonic

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import configure_logging
from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from project import cpus, serving

KEEP_ALIVE = 75  # seconds that a connection waits for a request, more than load balancers keep one
BACKLOG = 2048  # connections that wait to be accepted
TICK = 0.1  # seconds until a signal is heeded
LOOK = 1  # seconds between looks at whether each process lives
LATE = 5  # seconds in which a process must answer, and beyond the grace in which it must end


logger = logging.getLogger("project.server")  # and not __main__


class Supervisor(Multiprocess):
    """uvicorn's, which accepts nothing more once it is to end, and then ends in time."""

    def run(self) -> None:
        self.init_processes()
        looked = monotonic()
        while not self.should_exit.wait(TICK):
            before = {process.pid for process in self.processes}
            self.handle_signals()
            if monotonic() - looked > LOOK:
                self.keep_subprocess_alive()
                looked = monotonic()
            if serving.METRICS in os.environ:
                _count_no_more(before - {process.pid for process in self.processes})
        for listening in self.sockets:
            listening.close()
        self.terminate_all()
        self.join_all()

    def join_all(self) -> None:
        end = monotonic() + (self.config.timeout_graceful_shutdown or 0) + LATE
        for process in self.processes:
            process.process.join(max(0, end - monotonic()))
            if process.process.is_alive():
                process.kill()

    def handle_quit(self) -> None:
        for process in self.processes:
            process.kill()
        self.should_exit.set()


def _count_no_more(pids: set[int | None]) -> None:
    """Let the metrics count processes that have ended as none any more."""
    from prometheus_client import multiprocess

    for pid in pids:
        multiprocess.mark_process_dead(pid)


def listen(bind: str) -> socket.socket:
    """Listen at `host:port`, `[host]:port` or `unix:path`. Raises ImproperlyConfigured."""
    host, _, port = bind.rpartition(":")
    try:
        if host == "unix":
            return socket.create_server(port, family=socket.AF_UNIX, backlog=BACKLOG)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    except (OSError, OverflowError, ValueError) as error:
        raise ImproperlyConfigured(
            f"The server cannot listen at APP_BIND={bind!r} ({error}): set it to host:port."
        ) from None


def main() -> None:
    """Serve until a signal ends it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    try:
        serving.prepare()  # so that what is missing ends the start with one sentence
        listening = listen(settings.BIND)
    except ImproperlyConfigured as error:
        sys.exit(f"project.server: {error}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection takes one
    config = Config(
        "project.asgi:application",
        workers=settings.WORKERS or cpus.usable(),
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.GRACE,
        timeout_worker_healthcheck=LATE,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    logger.info("Serving at %s in %d processes.", settings.BIND, config.workers)
    Supervisor(config, [listening]).run()


if __name__ == "__main__":
    main()
