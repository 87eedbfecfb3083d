"""Small files into S3 and into a table: the API, against boto3 alone and with an INSERT."""

import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import urllib3
from psycopg_pool import ConnectionPool

from benchmarks.bench_migrate import parameters
from benchmarks.measure import process, s3_client, seaweedfs, table
from benchmarks.site import THREADS, start
from project.sandbox import services

FILES = 1000
CONTENT = secrets.token_bytes(1024)
CLIENTS = (1, 8)

# Prints a token.
PREPARE = """
from django.contrib.auth.models import User
from files.models import Token
from files.tokens import expiry
user = User.objects.create_superuser("benchmark")
print(Token.objects.issue(user, scope="write", expires_at=expiry(1))[1])
"""

Store = Callable[[str], Any]


def run(rounds: int) -> None:
    """Upload in turns, and print the table."""
    rounds = min(rounds, 5)
    with services.running("embedded") as own, ExitStack() as stack:
        environ = stack.enter_context(seaweedfs(own))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-benchmark-")))
        environ |= {
            "APP_AUDIT_FILE": str(folder / "audit"),
            "APP_DEBUG": "false",
            "APP_STATIC_ROOT": str(folder / "static"),
            "APP_THREADS": str(THREADS),
        }
        manage = [sys.executable, "manage.py"]
        process([*manage, "migrate", "--verbosity=0"], environ)
        process([*manage, "collectstatic", "--noinput", "--verbosity=0"], environ)
        token = process([*manage, "shell", "-v0", "-c", PREPARE], environ).output.decode().strip()
        port = start(stack, ["project.server"], environ)
        ways = _ways(stack, environ, f"http://127.0.0.1:{port}/api/files/", token)
        _measure(ways, rounds)


def _ways(stack: ExitStack, environ: dict[str, str], url: str, token: str) -> dict[str, Store]:
    client, bucket = s3_client(environ), environ["APP_BUCKET_NAME"]
    stack.callback(client.close)
    pool = stack.enter_context(
        ConnectionPool(kwargs=parameters(environ), min_size=max(CLIENTS), open=True)
    )
    http = urllib3.PoolManager(maxsize=max(CLIENTS))
    with pool.connection() as connection:
        connection.execute("CREATE TABLE stored (key text PRIMARY KEY, size bigint, etag text)")

    def put(key: str) -> Any:
        return client.put_object(Bucket=bucket, Key=key, Body=CONTENT)

    def put_and_insert(key: str) -> None:
        etag = put(key)["ETag"]
        with pool.connection() as connection:
            connection.execute("INSERT INTO stored VALUES (%s, %s, %s)", [key, len(CONTENT), etag])

    def ask(key: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
        answer = http.request("POST", f"{url}?key={key}", body=CONTENT, headers=headers)
        if answer.status != 201:
            raise SystemExit(answer.data.decode())

    return {"boto3 alone": put, "boto3 and an INSERT": put_and_insert, "the API": ask}


def _measure(ways: dict[str, Store], rounds: int) -> None:
    """Store as many files in each way, by one client and by several at once."""
    names = (f"files/{number}" for number in count())
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for clients in CLIENTS:
            for name, store in ways.items():
                keys = [next(names) for _ in range(FILES)]
                begin = time.perf_counter()
                with ThreadPoolExecutor(clients) as threads:
                    list(threads.map(store, keys))
                found.setdefault((name, clients), []).append(time.perf_counter() - begin)
    rows = [
        [name, *(cell for clients in CLIENTS for cell in _cells(name, clients, found))]
        for name in ways
    ]
    header = ["files of 1 KiB"]
    for clients in CLIENTS:
        header += [f"{clients} at once", "ratio"]
    table(header, rows)


def _cells(name: str, clients: int, found: dict[tuple[str, int], list[float]]) -> list[str]:
    seconds = statistics.median(found[name, clients])
    first = statistics.median(found["boto3 alone", clients])
    return [f"{FILES / seconds:,.0f} a second", f"{seconds / first:.2f}"]
