"""Servers that a test starts, and that are gone after it."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from project.sandbox import services
from tests import leaks
from tests.processes import ROOT, manage, wait_for

# What `serve` takes: the production server, or the one that WSGI needs.
ASGI = ("project.server",)
WSGI = ("gunicorn", "project.wsgi")


def _served() -> str:
    """Return what PostgreSQL calls the sessions of the servers."""
    return f"{os.environ['PGAPPNAME']}-served"


_folders: dict[str, Path] = {}  # of servers by their URL, with what they have written


def written(url: str, stream: str = "stderr") -> str:
    """Return what the server has written to stdout or stderr up to now."""
    return (_folders[url] / stream).read_text("utf-8")


def lines(url: str, stream: str = "stderr") -> list[dict[str, Any]]:
    """Return the lines of JSON that the server has written, and nothing else.

    The last may be seen in part: Linux shows a write that crosses a page in two steps.
    """
    whole, _, _ = written(url, stream).rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


@pytest.fixture(scope="module")
def _start(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., str]]:
    """Start a server for each command and environment that the tests of a module ask for.

    What they write is looked through for secrets at the end.
    """
    servers, urls = [], []
    with ExitStack() as stack:

        @cache
        def start(*command: str, **environ: str) -> str:
            from django.db import connection

            port = services.free_port()
            own = {"APP_DB_NAME": connection.settings_dict["NAME"], "PGAPPNAME": _served()}
            own |= {"APP_BIND": f"127.0.0.1:{port}", "APP_WORKERS": "1"}
            url = f"http://127.0.0.1:{port}"
            folder = _folders[url] = tmp_path_factory.mktemp("served")
            with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
                server = services.start_server(
                    stack,
                    [sys.executable, "-m", *(command or ASGI)],
                    signal.SIGQUIT,  # which waits for nothing
                    cwd=ROOT,
                    env=os.environ | own | environ,
                    stdout=out,
                    stderr=err,
                )
            servers.append(server)
            urls.append(url)
            wait_for(port)
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert client.recv(1)  # now the application is loaded
            return url

        yield start
        for server in servers:  # all at once
            server.send_signal(signal.SIGQUIT)
    for url in urls:
        leaks.check(written(url, "stdout"), written(url, "stderr"))


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Collect the static files, without which no page is made in production; return the folder."""
    folder = str(tmp_path_factory.mktemp("static"))
    environ: dict[str, str | None] = {"APP_DEBUG": "false", "APP_STATIC_ROOT": folder}
    assert manage("collectstatic", "--noinput", environ=environ).returncode == 0
    return folder


@pytest.fixture
def serve(transactional_db: None, _start: Callable[..., str]) -> Iterator[Callable[..., str]]:
    """The production server on the test database: `url = serve(APP_DELIVERY="redirect")`.

    The tests of a module share it; what it keeps of connections to the database ends with a test.
    A request to it counts as one to S3, since it leaves this process by `http.client`.
    """
    from django.db import connection

    yield _start
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [_served()],
        )


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Serve what a real server says only with accounts and policies, or does not say here.

    `url = answering(lambda path, headers, body: (403, {"x-amzn-ErrorType": "Denied"}, b"{}"))`
    """
    servers = []

    def answering(answer: Callable[..., tuple[int, dict[str, str], bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                status, headers, body = answer(self.path, self.headers, self.rfile.read(length))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield answering
    for server in servers:
        server.shutdown()
        server.server_close()
