"""What breaks on demand: S3 behind a proxy, and what this process does, at any of its steps."""

import http.client
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest
import urllib3
from django.db import DEFAULT_DB_ALIAS, connections

from project import aws

STALL = 2  # seconds
PATIENCE = 10  # seconds that what stalls until a test goes on waits for it


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to S3, each with the next of `faults`, and counts them in `requests`.

    A fault is a kind and a number of bytes of the body that pass before it: ("reset", 10),
    ("short", 10), ("stall", 10); or ("status", 503); or ("call", 10) for `on_call`, by 0
    before any of the answer; or None.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.host = f"127.0.0.1:{self.server_port}"
        self.reset()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()

    def reset(self) -> None:
        """Break nothing, and forget what was asked."""
        self.faults: list[tuple[str, int] | None] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.headers: dict[str, str] = {}  # sent in place of S3's own; empty to leave one out
        self.on_call: Callable[[], object] = lambda: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy

    def do_GET(self) -> None:
        self.server.requests.append((self.command, dict(self.headers)))
        kind, number = (self.server.faults and self.server.faults.pop(0)) or ("", 0)
        if kind == "status":
            self.send_response(number)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=10)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders()
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        if (kind, number) == ("call", 0):
            self.server.on_call()
            kind = ""
        self.send_response(answer.status)
        for name, value in self._headers(answer.getheaders()):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if not kind:
            self.wfile.write(body)
            return
        self.wfile.write(body[:number])
        self.wfile.flush()
        if kind == "stall":
            time.sleep(STALL)
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "call":
            self.server.on_call()

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _headers(self, sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return S3's headers with those of the test; what the test has as empty is left out."""
        own = {"connection", "date", "server", "transfer-encoding"}
        own |= {name.lower() for name in self.server.headers}
        kept = [(name, value) for name, value in sent if name.lower() not in own]
        return kept + [(name, value) for name, value in self.server.headers.items() if value]

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what S3 fails at be tried again at once, by our requests and by boto3."""
    monkeypatch.setattr("files.storage.bucket.FIRST_WAIT", 0)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
def read_from(
    storage: Any, monkeypatch: pytest.MonkeyPatch, no_waits: None
) -> Iterator[Callable[[str], None]]:
    """Let the application read its bucket at another endpoint."""
    from files.storage import base, bucket
    from files.storage.client import CONFIG

    buckets = []

    def read_from(endpoint: str) -> None:
        client = aws.session().create_client("s3", endpoint_url=endpoint, config=CONFIG)
        found = bucket.Bucket(aws.session(), client, storage.bucket_name, storage.location)
        buckets.append(found)
        monkeypatch.setattr(base, "bucket", lambda *place: found)

    yield read_from
    for found in buckets:
        found._http.close()


@pytest.fixture
def unreachable(read_from: Callable[[str], None]) -> Callable[[], None]:
    """Put S3 out of reach, from the call on: `unreachable()`."""
    return lambda: read_from("http://127.0.0.1:9")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the application give up a stall early, as it may then give up a busy machine too."""
    monkeypatch.setattr("files.storage.connections.READ_TIMEOUT", STALL / 4)


@pytest.fixture(scope="session")
def _proxy(_bucket: str) -> Iterator[FaultProxy]:
    """Start the proxy once, so that servers which read from it can be shared by tests."""
    from django.core.files.storage import default_storage

    endpoint = default_storage.client.meta.endpoint_url
    if not endpoint.startswith("http://"):
        pytest.skip(f"nothing can stand between the tests and {endpoint}")
    proxy = FaultProxy(endpoint)
    yield proxy
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture
def proxy(_proxy: FaultProxy, read_from: Callable[[str], None]) -> FaultProxy:
    """A proxy before S3 that breaks what it is told: `proxy.faults = [("status", 503)]`."""
    _proxy.reset()
    read_from(f"http://{_proxy.host}")
    return _proxy


@pytest.fixture
def during(storage: Any) -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Do something just before S3 is asked the next time: `during("PutObject", action)`."""
    registered = []

    def during(operation: str, action: Callable[[], object]) -> None:
        def once(**arguments: Any) -> object:
            storage.client.meta.events.unregister(event, once)
            registered.remove((event, once))
            return action()

        event = f"before-send.s3.{operation}"
        storage.client.meta.events.register(event, once)
        registered.append((event, once))

    yield during
    for event, once in registered:
        storage.client.meta.events.unregister(event, once)


class KilledError(BaseException):
    """The end of a process: nothing that it would do afterwards takes effect."""


class Kill(NamedTuple):
    """An end at a step, which is a statement, a COMMIT, or a request before or after its answer."""

    step: int


class Fault(NamedTuple):
    """What happens to a request of this number, and with `lasting` to all that follow it.

    S3 answers "403" or "503", the connection breaks before S3 has it ("reset") or after that
    ("lost"), or a write reaches S3 only later ("late"), when `Steps.arrive` is called.
    """

    request: int
    kind: str
    lasting: bool


class Steps:
    """Counts the steps of what this thread does inside, and breaks it or does something at one.

    `fired` tells whether there were so many steps. The connection to PostgreSQL ends with a kill.
    """

    def __init__(
        self,
        breaks: Kill | Fault | None = None,
        meanwhile: tuple[int, Callable[[], object]] | None = None,
    ) -> None:
        self.fired, self.is_dead = False, False
        self.held: list[Callable[[], Any]] = []
        self._breaks, self._meanwhile = breaks, meanwhile
        self._steps = self._requests = 0
        self._lock, self._others = threading.Lock(), threading.local()
        self._patches = pytest.MonkeyPatch()
        self._connection = connections[DEFAULT_DB_ALIAS]

    def __enter__(self) -> Self:
        self._hook(self._connection)
        self._urlopen = urllib3.HTTPConnectionPool.urlopen
        urlopen = lambda pool, method, url, **about: self._request(pool, method, url, about)  # noqa: E731
        self._patches.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)
        return self

    def __exit__(self, *about: object) -> None:
        self._patches.undo()
        self._connection.execute_wrappers.remove(self._statement)
        if self.is_dead:
            self._connection.close()

    def arrive(self) -> None:
        """Let S3 have the requests that were late."""
        while self.held:
            self.held.pop(0)()

    def _hook(self, connection: Any) -> Any:
        commit, copy = connection._commit, connection.copy
        connection.execute_wrappers.append(self._statement)
        self._patches.setattr(connection, "_commit", lambda: self._commit(commit))
        self._patches.setattr(connection, "copy", lambda: self._hook(copy()))
        return connection

    def _statement(self, execute: Callable[..., Any], *about: Any) -> Any:
        self._step()
        return execute(*about)

    def _commit(self, commit: Callable[[], None]) -> None:
        self._step()
        commit()
        self._step()

    def _step(self) -> None:
        with self._lock:
            if not self.is_dead:
                self._steps += 1
                self.is_dead = isinstance(self._breaks, Kill) and self._steps == self._breaks.step
            if self.is_dead:
                self.fired = True
                if self._connection.connection is not None:
                    self._connection.connection.close()
                raise KilledError
            now = self._meanwhile is not None and self._steps == self._meanwhile[0]
        if now:
            self._let_others()

    def _let_others(self) -> None:
        """Do it in a thread with a connection of its own, as another process does."""

        def run() -> None:
            self._others.here = True
            try:
                self._meanwhile[1]()  # type: ignore[index]
            except BaseException as error:  # noqa: BLE001 - it is raised where it is seen
                raised.append(error)
            finally:
                connections.close_all()

        raised: list[BaseException] = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if raised:
            raise AssertionError("the second actor failed") from raised[0]

    # Requests to S3

    def _request(self, pool: Any, method: str, url: str, about: dict[str, Any]) -> Any:
        if hasattr(self._others, "here"):
            return self._urlopen(pool, method, url, **about)
        self._step()
        if fault := self._fault():
            return self._fail(fault, pool, method, url, about)
        response = self._urlopen(pool, method, url, **about)
        if method not in {"GET", "HEAD"}:
            try:
                self._step()
            except BaseException:
                response.drain_conn()
                raise
        return response

    def _fault(self) -> str:
        with self._lock:
            self._requests += 1
            if not isinstance(self._breaks, Fault) or self._requests < self._breaks.request:
                return ""
            if self._requests == self._breaks.request:
                self.fired = True
                return self._breaks.kind
            kind = "reset" if self._breaks.kind == "late" else self._breaks.kind
            return kind if self._breaks.lasting or self._breaks.kind == "late" else ""

    def _fail(self, kind: str, pool: Any, method: str, url: str, about: dict[str, Any]) -> Any:
        if kind in {"403", "503"}:
            return _refusal(int(kind), method)
        if kind == "lost":
            self._urlopen(pool, method, url, **about).drain_conn()
        elif kind == "late" and method in {"PUT", "POST"}:
            if hasattr(about.get("body"), "read"):
                about = about | {"body": about["body"].read()}
            self.held.append(lambda: self._urlopen(pool, method, url, **about).drain_conn())
        raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())


def _refusal(status: int, method: str) -> urllib3.HTTPResponse:
    code = {403: "AccessDenied", 503: "SlowDown"}[status]
    body = b"" if method == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
    return urllib3.HTTPResponse(
        io.BytesIO(body),
        {"Content-Length": str(len(body)), "Content-Type": "application/xml"},
        status,
        preload_content=False,
        decode_content=False,
        request_method=method,
    )
