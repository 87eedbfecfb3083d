"""The production server as a process: how it starts, reloads and ends."""

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import urllib3
import uvicorn
from django.db import connection

from project import server as module
from project.sandbox import services
from project.server import listen
from tests.processes import ROOT, heed_signals, wait_for
from tests.waiting import until

pytestmark = [pytest.mark.alike, pytest.mark.django_db(transaction=True)]

LARGE = 64 * 2**20  # bytes, more than the buffers of a connection hold


class Server:
    """The server, with what belongs to it."""

    def __init__(self, log, module="project.server", **environ):
        self.log = log
        self.port = services.free_port()
        own = {"APP_BIND": f"127.0.0.1:{self.port}", "APP_WORKERS": "1", "APP_THREADS": "4"}
        own["APP_DB_NAME"] = connection.settings_dict["NAME"]
        with open(log, "wb") as stderr:
            self.process = psutil.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env=os.environ | own | environ,
                stderr=stderr,
                preexec_fn=heed_signals,
            )

    def workers(self):
        return {child.pid for child in self.process.children() if "spawn_main" in _command(child)}

    def answers(self):
        url = f"http://127.0.0.1:{self.port}/healthz"
        return urllib3.request("GET", url, timeout=10, retries=False).status == 200

    def end(self):
        if self.process.poll() is None:
            for process in [*self.process.children(recursive=True), self.process]:
                with suppress(psutil.NoSuchProcess):  # one that a reload has replaced
                    process.kill()
            self.process.wait()


def _command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(*module, **environ):
        server = Server(tmp_path / "log", *module, **environ)
        servers.append(server)
        wait_for(server.port)
        assert server.answers()
        return server

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def download(make_file, viewer):
    """Begin to read a large file; return its answer."""
    file = make_file("large", bytes(LARGE))

    clients = []

    def download(server):
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        clients.append(client)
        session = f"sessionid={viewer.cookies['sessionid'].value}"
        client.request("GET", f"/files/{file.pk}/", headers={"Cookie": session})
        answer = client.getresponse()
        assert answer.read(10) == bytes(10)
        return answer

    yield download
    for client in clients:
        client.close()


def refuses(server):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", server.port)) != 0


def test_sigterm_lets_a_download_end_and_nothing_begin(start, download):
    server = start()
    answer = download(server)
    idle = socket.create_connection(("127.0.0.1", server.port))
    server.process.terminate()
    until(lambda: refuses(server), 1)
    assert len(answer.read()) == LARGE - 10
    assert server.process.wait(5) == 0
    idle.close()


def test_a_download_lasts_no_longer_than_the_grace(start, download):
    server = start(APP_GRACE="1")
    answer = download(server)
    server.process.terminate()
    assert server.process.wait(5) == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()


def test_a_reload_replaces_the_processes_and_refuses_nothing(start, download):
    server = start()
    answer, before = download(server), server.workers()
    server.process.send_signal(signal.SIGHUP)

    def is_replaced():
        assert server.answers()
        return not server.workers() <= before

    until(is_replaced)
    assert len(answer.read()) == LARGE - 10
    until(lambda: not server.workers() & before)
    assert server.answers()


def test_a_process_that_is_killed_is_replaced(start):
    server = start()
    before = server.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: server.workers() and not server.workers() & before)
    until(server.answers)


HANGS = """
import asyncio, time
from project.asgi import application
from project import handler

handler.LATE = 0.2

async def main():
    started = asyncio.Event()
    async def send(message):
        started.set()
    begin = asyncio.Event()
    begin.set()
    async def receive():
        await begin.wait()
        begin.clear()
    live = asyncio.create_task(application({"type": "lifespan"}, receive, send))
    await started.wait()
    await asyncio.sleep(2)
    print("it turns", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


def test_a_process_whose_event_loop_hangs_ends_and_says_where():
    command = [sys.executable, "-c", HANGS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (1, b"it turns\n"), done.stderr
    assert b"The event loop hangs, so this process ends" in done.stderr
    assert b"in main" in done.stderr


def test_sigterm_counts_during_a_reload(start, download):
    server = start(APP_GRACE="1")
    answer = download(server)
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    server.process.terminate()
    until(lambda: refuses(server), 1)
    assert server.process.wait(5) == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()


def test_what_cannot_serve_ends_and_says_why(tmp_path):
    server = Server(tmp_path / "log", AWS_ENDPOINT_URL_S3="nonsense")
    assert server.process.wait(30) == 1
    assert "Invalid endpoint: nonsense" in server.log.read_text()


def test_an_answer_waits_for_no_acknowledgement():
    with listen("127.0.0.1:0") as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_socket_at_a_path_is_for_any_proxy_and_can_be_listened_at_again(tmp_path):
    for _ in range(2):
        with listen(f"unix:{tmp_path}/socket"):
            assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o666


def test_a_connection_that_does_not_say_what_it_wants_is_closed(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def application(scope, receive, send):
        raise AssertionError("nothing was asked")

    async def connect():
        config = uvicorn.Config(application, http=module.Protocol, lifespan="off", log_config=None)
        config.load()
        made = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: module.Protocol(config, made, {}), "127.0.0.1", 0
        )
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
            listening.close()

    assert asyncio.run(connect()) == b""


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"APP_DB_SECRET": "none"}, "secret"),
        ({"APP_BIND": "nowhere"}, "cannot listen at APP_BIND='nowhere'"),
        ({"APP_BIND": "192.0.2.1:8000"}, "cannot listen at APP_BIND='192.0.2.1:8000'"),
        ({"APP_GRACE": "long"}, "APP_GRACE must be a whole number"),
    ],
)
def test_what_is_wrong_ends_the_start_with_one_sentence(tmp_path, environ, sentence):
    server = Server(tmp_path / "log", **environ)
    assert server.process.wait(20) == 1
    (line,) = server.log.read_text().splitlines()
    assert sentence in line
