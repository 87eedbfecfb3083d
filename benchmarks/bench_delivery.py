"""Objects over HTTP: gunicorn as shipped, with one worker, and nginx in the place of S3."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import MIB, ROOT, process, table
from project.sandbox import services
from tests.nginx import configure

AT_ONCE = 6  # as many as gunicorn's worker of 16 threads sends
SMALL_ROUNDS, LARGE_ROUNDS = 7, 3  # at most
SECONDS = 2  # of each load
CONNECTIONS = 8
TEXT = b"text" * 256
SIZE = 1024 * MIB
TICKS = os.sysconf("SC_CLK_TCK")

# Prints the keys of our session and of Django's own, a token, and the ids of the objects.
PREPARE = """
import json
from django.contrib.auth.models import User
from django.test import Client
from files.models import File, Token
from files.tokens import expiry
user, sessions = User.objects.create_superuser("benchmark"), []
for backend in ("files.access.Backend", "django.contrib.auth.backends.ModelBackend"):
    client = Client()
    client.force_login(user, backend)
    sessions.append(client.session.session_key)
_, token = Token.objects.issue(user, expires_at=expiry(1))
ids = [File.objects.create(object_key=f"bench/{name}").pk for name in ("1k.txt", "1g.bin")]
print(json.dumps([*sessions, token, *ids]))
"""

# Prints microseconds of CPU for a URL: ours, and boto3's.
PRESIGN = """
import json, statistics, time
from django.core.files.storage import default_storage
key, client = "bench/1k.txt", default_storage.client
params = {"Bucket": default_storage.bucket_name, "Key": key}
ways = [
    lambda: default_storage.objects.presign("GET", key),
    lambda: client.generate_presigned_url("get_object", Params=params),
]
found = [[], []]
for _ in range(8):
    for way, times in zip(ways, found):
        start = time.process_time()
        for _ in range(500):
            way()
        times.append((time.process_time() - start) / 500 * 1e6)
print(json.dumps([statistics.median(times[1:]) for times in found]))  # the first warms up
"""

NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
}}
"""

ORIGIN = """
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
    }}
"""


class Server(NamedTuple):
    """A server, and the processes that do its work."""

    port: int
    workers: list[int]


class Way(NamedTuple):
    """Where a client asks, and as whom; the application behind it, and what else works for it."""

    address: str
    header: str = "Accept: */*"
    application: Server | None = None
    front: Server | None = None

    @property
    def servers(self) -> list[Server]:
        return [server for server in (self.application, self.front) if server]


def run(rounds: int) -> None:
    for program in ("wrk", "nginx", "curl"):
        if shutil.which(program) is None:
            sys.exit(f"There is no {program}: install Debian's package {program}.")
    with services.running("embedded") as environ, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-delivery-")))
        origin = _origin(stack, folder)
        environ |= {
            "APP_AUDIT_FILE": os.devnull,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{origin.port}",
            "APP_ALLOWED_HOSTS": "127.0.0.1",
            "APP_DEBUG": "false",
        }
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        manage = [sys.executable, "manage.py"]
        process([*manage, "migrate", "--verbosity=0"], environ)
        output = process([*manage, "shell", "-v0", "-c", PREPARE], environ).output
        session, stock_session, token, small, large = json.loads(output)
        cookie, stock_cookie = (
            f"Cookie: __Host-sessionid={key}" for key in (session, stock_session)
        )
        bearer = f"Authorization: Bearer {token}"
        ours = {
            delivery: _gunicorn(stack, folder, delivery, environ | {"APP_DELIVERY": delivery})
            for delivery in ("stream", "redirect", "accel")
        }
        front = _front(stack, folder, ours["accel"])
        both = {"DJANGO_SETTINGS_MODULE": "benchmarks.stock.both_settings"}
        stock = _gunicorn(stack, folder, "stock", environ | both)

        _small(
            min(rounds, SMALL_ROUNDS),
            {
                "bare view": _way(f"bare/{small}/", stock_cookie, stock),
                "ours, stream": _way(f"files/{small}/", cookie, ours["stream"]),
                "ours, stream by token": _way(f"files/{small}/", bearer, ours["stream"]),
                "ours, redirect": _way(f"files/{small}/", cookie, ours["redirect"]),
                "ours, accel": _way(f"files/{small}/", cookie, ours["accel"], front),
                "django-storages": _way(f"file/{small}/", stock_cookie, stock),
                "constant view": _way(f"constant/{small}/", stock_cookie, stock),
                "bare view, no login": _way(f"bare-open/{small}/", stock_cookie, stock),
                "constant, no login": _way(f"constant-open/{small}/", stock_cookie, stock),
                "the origin itself": Way(f"http://127.0.0.1:{origin.port}/files/bench/1k.txt"),
            },
        )
        _large(
            min(rounds, LARGE_ROUNDS),
            {
                "the origin itself": Way(f"http://127.0.0.1:{origin.port}/files/bench/1g.bin"),
                "ours, stream": _way(f"files/{large}/", cookie, ours["stream"]),
                "ours, accel": _way(f"files/{large}/", cookie, ours["accel"], front),
                "ours, redirect": _way(f"files/{large}/", cookie, ours["redirect"]),
                "django-storages": _way(f"file/{large}/", stock_cookie, stock),
                "boto3's iter_chunks": _way(f"chunks/{large}/", stock_cookie, stock),
            },
        )
        _at_once(_way(f"files/{large}/", cookie, ours["stream"]))
        our_time, boto3_time = json.loads(
            process([*manage, "shell", "-v0", "-c", PRESIGN], environ).output
        )
    print("\nA presigned URL, in a process that does nothing else.\n")
    rows = [
        [name, f"{found:.0f} µs", f"{found / boto3_time:.3f}"]
        for name, found in {"generate_presigned_url": boto3_time, "presign": our_time}.items()
    ]
    table(["presigned URL", "CPU", "ratio"], rows)


# The servers


def _way(path: str, header: str, application: Server, front: Server | None = None) -> Way:
    return Way(f"http://127.0.0.1:{(front or application).port}/{path}", header, application, front)


def _origin(stack: ExitStack, folder: Path) -> Server:
    """Start the fastest S3 there is: files, with no signature looked at."""
    bench = folder / "files" / "bench"
    bench.mkdir(parents=True)
    folder.chmod(0o755)
    (bench / "1k.txt").write_bytes(TEXT)
    with (bench / "1g.bin").open("wb+") as file:
        file.truncate(SIZE)
        while file.read(MIB):  # into the memory of the kernel
            pass
    port = services.free_port()
    return start_nginx(stack, folder / "origin", port, ORIGIN.format(port=port, folder=folder))


def _front(stack: ExitStack, folder: Path, application: Server) -> Server:
    """Start nginx by the shipped configuration, at other addresses."""
    port = services.free_port()
    command = configure(folder / "front", f"127.0.0.1:{application.port}", port)
    services.start_server(stack, command, signal.SIGTERM, env=services.clean_environ())
    return _started(port, folder / "front" / "nginx.pid")


def start_nginx(stack: ExitStack, prefix: Path, port: int, http: str) -> Server:
    """Start nginx at a port that its configuration `http` names."""
    prefix.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (prefix / "nginx.conf").write_text(NGINX.format(user=user, http=http), "utf-8")
    command = ["nginx", "-e", "stderr", "-p", f"{prefix}/", "-c", "nginx.conf"]
    services.start_server(stack, command, signal.SIGTERM, env=services.clean_environ())
    return _started(port, prefix / "nginx.pid")


def _gunicorn(stack: ExitStack, folder: Path, name: str, environ: dict[str, str]) -> Server:
    port, pid = services.free_port(), folder / f"{name}.pid"
    services.start_server(
        stack,
        [
            *(sys.executable, "-m", "gunicorn", "project.wsgi", "--no-control-socket"),
            *("--workers=1", "--access-logfile=/dev/null", f"--pid={pid}"),
            f"--bind=127.0.0.1:{port}",
        ],
        signal.SIGTERM,
        env=environ,
        cwd=ROOT,
    )
    return _started(port, pid)


def _started(port: int, pid: Path) -> Server:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            master = int(pid.read_text())
            workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            if workers:
                return Server(port, [int(worker) for worker in workers])
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"No server came up for {pid}")
        time.sleep(0.05)


# What the kernel knows of them


def _cpu(server: Server | None) -> float:
    """Return the seconds that the workers have worked so far."""
    seconds = 0.0
    for worker in server.workers if server else ():
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def _peak(servers: Sequence[Server], *, reset: bool = False) -> float:
    """Return the peak memory of all workers in MiB, or what they have now from here on."""
    peak = 0.0
    for worker in (worker for server in servers for worker in server.workers):
        if reset:
            Path(f"/proc/{worker}/clear_refs").write_text("5")
        status = Path(f"/proc/{worker}/status").read_text()
        peak += int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return peak


@contextmanager
def _watching_disk(servers: Sequence[Server]) -> Iterator[Callable[[], float]]:
    """Yield what tells the most MiB of temporary files that a worker had at once."""
    most, over = 0, threading.Event()

    def sizes(worker: int) -> Iterator[int]:
        for entry in Path(f"/proc/{worker}/fd").iterdir():
            try:
                if "(deleted)" in str(entry.readlink()):
                    yield entry.stat().st_size
            except OSError:  # closed meanwhile
                pass

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            for server in servers:
                most = max(most, *(sum(sizes(worker)) for worker in server.workers), 0)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most / MIB
    finally:
        over.set()
        thread.join()


# 1 KiB


def _small(rounds: int, ways: dict[str, Way]) -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for name, way in ways.items():
        _check(name, way)
        _load(way, 1)  # the threads start and connect
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(_load(way, SECONDS))
    print(f"1 KiB, {CONNECTIONS} connections: CPU of the application, requests a second by wrk.\n")
    rows = [
        [
            name,
            f"{cpu:.2f} ms" if cpu else "",
            f"{rate:.0f}/s",
            f"{cpu_ratio:.2f}" if cpu else "",
            f"{rate_ratio:.2f}",
        ]
        for name, (cpu, rate), (cpu_ratio, rate_ratio) in _medians(found)
    ]
    table(["1 KiB", "CPU", "requests", "CPU ratio", "requests ratio"], rows)


def _check(name: str, way: Way) -> None:
    """Make sure that the way answers with the object, or with where it is."""
    host, _, path = way.address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", f"/{path}", headers=dict([way.header.split(": ")]))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status == 302:
        assert "/files/bench/1k.txt?" in answer.headers["Location"], (name, answer.headers)
    else:
        assert (answer.status, body) == (200, TEXT), (name, answer.status, body)
    connection.close()


def _load(way: Way, seconds: int) -> tuple[float, float]:
    """Return milliseconds of CPU for a request, and requests a second."""
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", way.header, way.address]
    before = _cpu(way.application)
    output = subprocess.run(
        load, check=True, capture_output=True, text=True, timeout=seconds + 20
    ).stdout
    cpu = _cpu(way.application) - before
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec: *([\d.]+)", output)
    assert requests, output
    assert rate, output
    return cpu / int(requests[1]) * 1000, float(rate[1])


# 1 GiB


def _large(rounds: int, ways: dict[str, Way]) -> None:
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(_download(way))
    print("\n1 GiB, by curl: CPU, growth of the peak memory and temporary files of the workers.\n")
    rows = [
        [
            name,
            f"{speed:.0f} MiB/s",
            f"{first * 1000:.0f} ms",
            f"{cpu:.2f} s" if ways[name].application else "",
            f"{front_cpu:.2f} s" if ways[name].front else "",
            f"{growth:.0f} MiB" if ways[name].application else "",
            f"{disk:.0f} MiB" if ways[name].application else "",
            f"{ratios[0]:.2f}",
        ]
        for name, (speed, first, cpu, front_cpu, growth, disk), ratios in _medians(found)
    ]
    header = ["1 GiB", "throughput", "first byte", "CPU", "nginx's CPU", "growth", "disk"]
    table([*header, "throughput ratio"], rows)


def _download(way: Way) -> tuple[float, ...]:
    """Return MiB/s, seconds to the first byte, CPU of application and nginx, MiB of both kinds."""
    tell = "%{size_download} %{time_total} %{time_starttransfer}"
    curl = ["curl", "-sfL", "-m90", "-o", os.devnull, "-w", tell, "-H", way.header, way.address]
    with _watching_disk(way.servers) as disk:
        memory = _peak(way.servers, reset=True)
        cpu, front_cpu = _cpu(way.application), _cpu(way.front)
        output = subprocess.run(curl, check=True, capture_output=True, text=True).stdout
        time.sleep(0.1)  # for the server to end what it began
        cpu, front_cpu = _cpu(way.application) - cpu, _cpu(way.front) - front_cpu
        growth = _peak(way.servers) - memory
    size, total, first = map(float, output.split())
    assert size == SIZE, (way, size)
    return size / total / MIB, first, cpu, front_cpu, growth, disk()


def _at_once(way: Way) -> None:
    """Print how much memory the worker takes for `AT_ONCE` clients with 1 GiB each."""
    curl = ["curl", "-sf", "-m120", "-o", os.devnull, "-H", way.header, way.address]
    memory = _peak(way.servers, reset=True)
    clients = [subprocess.Popen(curl) for _ in range(AT_ONCE)]
    assert [client.wait() for client in clients] == [0] * AT_ONCE
    growth = _peak(way.servers) - memory
    each = growth / AT_ONCE
    print(f"\n1 GiB to {AT_ONCE} clients at once: {growth:.0f} MiB of growth, {each:.1f} MiB each.")


def _medians(
    found: Mapping[str, Sequence[tuple[float, ...]]],
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield each way's medians, and those of its ratios to the first way in the same round."""
    first, *_ = found.values()
    for name, runs in found.items():
        ratios = [
            [value / other if other else 0 for value, other in zip(run, other_run, strict=True)]
            for run, other_run in zip(runs, first, strict=True)
        ]
        yield name, _middle(runs), _middle(ratios)


def _middle(runs: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*runs, strict=True)]
