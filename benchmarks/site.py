"""A site for benchmarks: throw-away services behind proxies that break them, and a server."""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3

from benchmarks.measure import ROOT, process
from project.sandbox import services
from tests.nginx import configure
from tests.tcp_proxy import TCPProxy

WORKERS, THREADS = 2, 16

# Prints the session's key, and the ids of a small and a large file.
PREPARE = """
import json, random
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client
from files.models import File
client = Client()
client.force_login(User.objects.create_superuser("benchmark"))
contents = {"1k.txt": b"text" * 256, "large.bin": random.Random(0).randbytes(%d)}
ids = [
    File.objects.create(object_key=ContentFile(data, name=name)).pk
    for name, data in contents.items()
]
print(json.dumps([client.session.session_key, *ids]))
"""


class Services(NamedTuple):
    """What a server runs on, and what is there to ask for."""

    own: dict[str, str]  # the environment that leads to the services themselves
    environ: dict[str, str]  # the server's, which leads to the proxies
    folder: Path
    s3: TCPProxy
    postgres: TCPProxy
    cookie: str  # of a superuser's session
    small: int
    large: int


@contextmanager
def prepared(large: int) -> Iterator[Services]:
    """Start services with a catalogue of two files, of 1 KiB and of `large` bytes."""
    with services.running("embedded") as own, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-benchmark-")))
        at_s3 = urlsplit(own.get("AWS_ENDPOINT_URL_S3") or own["AWS_ENDPOINT_URL"])
        s3 = stack.enter_context(TCPProxy("127.0.0.1", at_s3.port or 80))
        postgres = stack.enter_context(TCPProxy("127.0.0.1", int(own["APP_DB_PORT"])))
        environ = own | {
            "APP_AUDIT_FILE": str(folder / "audit"),
            "APP_DB_PORT": str(postgres.port),
            "APP_DEBUG": "false",
            "APP_STATIC_ROOT": str(folder / "static"),
            "APP_THREADS": str(THREADS),
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{s3.port}",
        }
        manage = [sys.executable, "manage.py"]
        process([*manage, "migrate", "--verbosity=0"], environ)
        process([*manage, "collectstatic", "--noinput", "--verbosity=0"], environ)
        output = process([*manage, "shell", "-v0", "-c", PREPARE % large], environ).output
        session, *files = json.loads(output)
        yield Services(own, environ, folder, s3, postgres, f"__Host-sessionid={session}", *files)


def start(stack: ExitStack, command: list[str], environ: dict[str, str]) -> int:
    """Start a server by its module and arguments, behind nginx where that comes first.

    Returns its port as soon as it answers there.
    """
    port = services.free_port()
    if command[0] == "nginx":
        behind = start(stack, command[1:], environ | {"APP_DELIVERY": "accel"})
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-nginx-")))
        services.start_server(stack, configure(folder, f"127.0.0.1:{behind}", port), signal.SIGTERM)
    else:
        environ |= {"APP_BIND": f"127.0.0.1:{port}", "APP_WORKERS": str(WORKERS)}
        command = [sys.executable, "-m", *command]
        services.start_server(stack, command, signal.SIGQUIT, cwd=ROOT, env=environ)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(urllib3.exceptions.HTTPError):
            url = f"http://127.0.0.1:{port}/login/"
            if urllib3.request("GET", url, retries=False).status == 200:
                return port
        time.sleep(0.1)
    raise SystemExit("the server does not start")
