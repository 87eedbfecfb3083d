"""What slow clients and slow services do to pages that need neither, on each server.

A page that needs no S3 is asked for ten times a second while something else is slow.
"""

import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3

from benchmarks.measure import MIB, table
from benchmarks.site import Services, prepared, start

if TYPE_CHECKING:
    from tests.tcp_proxy import TCPProxy

SECONDS = 12  # of each attack
WARM_UP = 2
LARGE = 40 * MIB
TIMEOUT = 10

SERVERS = {
    "project.server": ["project.server"],
    "gunicorn, gthread": ["gunicorn", "project.wsgi"],
    "gunicorn, asgi": ["gunicorn", "project.asgi", "-k=asgi"],
    "nginx, accel, project.server": ["nginx", "project.server"],
}


class Site(NamedTuple):
    """A server, and what it runs on."""

    port: int
    services: Services

    def get(self, path: str, **options: Any) -> int:
        """Return the status, 0 where there is none within 10 s."""
        try:
            return urllib3.request(
                "GET",
                f"http://127.0.0.1:{self.port}{path}",
                headers={} if path == "/login/" else {"Cookie": self.services.cookie},
                timeout=options.pop("timeout", TIMEOUT),
                retries=False,
                redirect=False,
            ).status
        except urllib3.exceptions.HTTPError:
            return 0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


# The attacks


@contextmanager
def nothing(site: Site) -> Iterator[None]:
    yield


@contextmanager
def slow_bodies(site: Site) -> Iterator[None]:
    """80 anonymous POSTs send a byte of their body each second."""
    start = b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000\r\n\r\n"
    with _held(site, 80, start, b"a"):
        yield


@contextmanager
def slow_headers(site: Site) -> Iterator[None]:
    """40 clients never finish their headers."""
    with _held(site, 40, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-A: b\r\n"):
        yield


@contextmanager
def idle(site: Site) -> Iterator[None]:
    """2,300 connections say nothing."""
    with _held(site, 2300, b"", b""):
        yield


@contextmanager
def slow_readers(site: Site) -> Iterator[None]:
    """80 clients ask for 40 MiB each, and read a byte a second."""
    large, cookie = site.services.large, site.services.cookie
    request = f"GET /files/{large}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n"
    with _held(site, 80, request.encode(), b"", reads=True):
        yield


@contextmanager
def _held(
    site: Site, number: int, start: bytes, more: bytes, reads: bool = False
) -> Iterator[None]:
    held: list[socket.socket] = []
    ended = threading.Event()

    def feed() -> None:
        while not ended.wait(1):
            for client in held:
                with suppress(OSError):
                    if more:
                        client.sendall(more)
                    if reads:
                        client.recv(1)

    thread = threading.Thread(target=feed)
    try:
        for _ in range(number):
            with suppress(OSError):
                client = site.connect()
                client.settimeout(0.5)
                held.append(client)
                client.sendall(start)
        thread.start()
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
        for client in held:
            client.close()


@contextmanager
def _asked(site: Site, path: str, number: int) -> Iterator[None]:
    """So many clients ask for the page again and again."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            if site.get(path, timeout=60) == 0:
                time.sleep(0.1)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def fault(name: str, mode: str) -> Callable[[Site], Any]:
    @contextmanager
    def break_it(site: Site) -> Iterator[None]:
        proxy: TCPProxy = getattr(site.services, name)
        proxy.mode = mode
        try:
            with _asked(site, f"/files/{site.services.small}/", 40):
                yield
        finally:
            proxy.mode = "pass"

    return break_it


ATTACKS: dict[str, Callable[[Site], Any]] = {
    "nothing": nothing,
    "80 slow bodies": slow_bodies,
    "40 unfinished headers": slow_headers,
    "2,300 idle connections": idle,
    "80 slow readers of 40 MiB": slow_readers,
    "S3 hangs": fault("s3", "hang"),
    "S3 is 3 s late": fault("s3", "slow"),
    "S3 refuses": fault("s3", "refuse"),
    "PostgreSQL hangs": fault("postgres", "hang"),
}


def run(rounds: int) -> None:
    rows = []
    with prepared(LARGE) as services:
        for server, command in SERVERS.items():
            cells = []
            for attack in ATTACKS.values():
                with ExitStack() as own:
                    port = start(own, command, services.environ)
                    cells.append(_measure(Site(port, services), attack))
                    print(server, cells[-1], file=sys.stderr, flush=True)
            rows.append([server, *cells])
    table(["/login/, p95 and failures", *ATTACKS], rows)


def _measure(site: Site, attack: Callable[[Site], Any]) -> str:
    times: list[float] = []
    failures = 0
    with attack(site), ThreadPoolExecutor(50) as threads:
        time.sleep(WARM_UP)

        def ask(number: int) -> tuple[int, float]:
            time.sleep(max(0, first + number / 10 - time.monotonic()))
            began = time.monotonic()
            status = site.get("/login/")
            return status, time.monotonic() - began

        first = time.monotonic()
        for status, seconds in threads.map(ask, range((SECONDS - WARM_UP) * 10)):
            times.append(seconds)
            failures += status != 200
    p95 = statistics.quantiles(times, n=20)[-1]
    return f"{p95:.2f} s" + (f", {failures} of {len(times)} fail" if failures else "")


if __name__ == "__main__":
    run(1)
