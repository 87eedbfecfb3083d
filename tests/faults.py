"""A proxy between the application and S3 that breaks what S3 will not break on demand."""

import http.client
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

STALL = 2  # seconds, longer than the tests' read timeout


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to S3, each with the next of `faults`, and counts them in `requests`.

    A fault is a kind and a number of bytes of the body that pass before it: ("reset", 10),
    ("short", 10), ("stall", 10); or ("status", 503); or ("call", 10) for `on_call`; or None.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.faults: list[tuple[str, int] | None] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.headers: dict[str, str] = {}  # sent in place of S3's own
        self.on_call: Callable[[], object] = lambda: None
        self.host = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}).start()

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
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "date", "server", "transfer-encoding"}:
                self.send_header(name, self.server.headers.get(name.title(), value))
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

    def log_message(self, *arguments: Any) -> None:
        pass
