"""The server: `python -m project.server` serves project.asgi by uvicorn, in several processes.

APP_BIND, APP_WORKERS and APP_GRACE say where, how many, and for how long they may end. A process
that ends is replaced. SIGHUP replaces all, one after the other, with the code and the password of
that moment; the variables of the environment stay as they were at the start.
"""

import logging
import os
import resource
import signal
import socket
import stat
import sys
from asyncio import BaseTransport, TimerHandle
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import configure_logging
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from project import cpus, serving

PATIENCE = 75  # seconds for a request's headers, more than load balancers keep an idle connection
BACKLOG = 2048  # connections that wait to be accepted
TICK = 0.1  # seconds until a signal is heeded
LOOK = 1  # seconds between looks at whether each process lives
START = 60  # seconds in which a process must serve
LATE = 5  # seconds in which a process must answer, and beyond the grace in which it must end

logger = logging.getLogger("project.server")  # and not __main__


class Protocol(H11Protocol):
    """uvicorn's, which also ends a connection whose request does not come, or not to its end."""

    _silence: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._silence is None:
            transport: BaseTransport = self.transport
            self._silence = self.loop.call_later(PATIENCE, transport.close)

    def _forget(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


class Supervisor(Multiprocess):
    """uvicorn's, which heeds each signal at once, also while it replaces processes."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.has_served = self.has_failed = False
        self._old: list[Process] = []  # that are to be replaced
        self._next: tuple[Process, float] | None = None  # that replaces the first, and until when
        self._leaving: list[tuple[Process, float]] = []  # that end, and until when

    def run(self) -> None:
        self.init_processes()
        looked = monotonic()
        while not self.should_exit.wait(TICK):
            before = {process.pid for process in self.processes}
            self.handle_signals()
            self._replace()
            self._reap()
            if monotonic() - looked > LOOK:
                self.keep_subprocess_alive()
                looked = monotonic()
            if serving.METRICS in os.environ:
                _count_no_more(before - {process.pid for process in self.processes})
        for listening in self.sockets:
            listening.close()
        self._end()

    def keep_subprocess_alive(self) -> None:
        """Replace what has ended; end where none has served yet, since none would ever."""
        if not self.has_served:
            self.has_served = any(process.is_ready(LATE) for process in self.processes)
            if not self.has_served and any((p.exitcode or 0) > 0 for p in self.processes):
                self.has_failed = True
                self.should_exit.set()
                return
        super().keep_subprocess_alive()

    def restart_all(self) -> None:
        self._old = list(self.processes)

    def _replace(self) -> None:
        """Start a process in the place of an old one, which ends as soon as the new one serves."""
        self._old = [process for process in self._old if process in self.processes]
        if self._next is None:
            if self._old:
                process = Process(self.config, self.sockets)
                process.start()
                self._next = process, monotonic() + START
            return
        process, until = self._next
        if process.process.is_alive() and process.is_ready(TICK):
            old = self._old.pop(0)
            self.processes[self.processes.index(old)] = process
            self._leave(old)
            self._next = None
        elif not process.process.is_alive() or monotonic() > until:
            logger.error("A new process does not serve: the old ones go on.")
            process.kill()
            process.join()
            self._old, self._next = [], None

    def _leave(self, process: Process) -> None:
        process.terminate()
        grace = self.config.timeout_graceful_shutdown or 0
        self._leaving.append((process, monotonic() + grace + LATE))

    def _reap(self) -> None:
        """Kill what should have ended."""
        for process, until in list(self._leaving):
            if process.process.is_alive() and monotonic() > until:
                process.process.kill()
            if not process.process.is_alive():
                process.join()
                self._leaving.remove((process, until))

    def _end(self) -> None:
        for process in self.processes:
            self._leave(process)
        if self._next is not None:
            self._next[0].kill()
        while self._leaving and not {signal.SIGINT, signal.SIGQUIT}.intersection(self.signal_queue):
            self._reap()
            sleep(TICK)
        for process, _ in self._leaving:
            process.process.kill()

    def handle_quit(self) -> None:
        """End at once."""
        self.signal_queue.append(signal.SIGQUIT)
        self.should_exit.set()


def _count_no_more(pids: set[int | None]) -> None:
    """Let the metrics count processes that have ended as none any more."""
    from prometheus_client import multiprocess

    for pid in pids:
        multiprocess.mark_process_dead(pid)


def listen(bind: str) -> socket.socket:
    """Listen at `host:port`, `[host]:port` or `unix:path`. Raises ImproperlyConfigured.

    Anybody on this machine may connect to a socket at a path, such as a proxy.
    """
    host, _, port = bind.rpartition(":")
    try:
        if host == "unix":
            path = Path(port)
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                path.unlink()  # of a server that has ended
            listening = socket.create_server(port, family=socket.AF_UNIX, backlog=BACKLOG)
            path.chmod(0o666)
            return listening
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        address = host.strip("[]"), int(port)
        listening = socket.create_server(address, family=family, backlog=BACKLOG)
        # Connections have it from here: asyncio sets it on none whose protocol Python does not
        # know, and each answer on one that is kept would wait 40 ms for the client's ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
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
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection takes one
    config = Config(
        "project.asgi:application",
        http=Protocol,
        workers=settings.WORKERS or cpus.usable(),
        backlog=BACKLOG,
        timeout_keep_alive=PATIENCE,
        timeout_graceful_shutdown=settings.GRACE,
        timeout_worker_healthcheck=LATE,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    logger.info("Serving at %s in %d processes.", settings.BIND, config.workers)
    supervisor = Supervisor(config, [listening])
    supervisor.run()
    sys.exit(1 if supervisor.has_failed else 0)


if __name__ == "__main__":
    main()
