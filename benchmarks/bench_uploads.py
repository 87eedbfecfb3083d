"""Small files to S3 by the API, beside boto3 alone: eight clients at once, each file 4 KiB."""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import urllib3

from benchmarks.measure import process, s3_client, seaweedfs, table
from benchmarks.site import start
from project.sandbox import services

FILES, CLIENTS = 1000, 8
ROUNDS = 3  # at most
DATA = b"text" * 1024

# Prints a token.
PREPARE = """
from django.contrib.auth.models import User
from files.models import Token
from files.tokens import expiry
user = User.objects.create_superuser("benchmark")
print(Token.objects.issue(user, scope="write", expires_at=expiry(1))[1])
"""

Upload = Callable[[str], None]


def run(rounds: int) -> None:
    """Upload by both in turns, and print what that takes; takes a minute."""
    with ExitStack() as stack:
        environ = stack.enter_context(services.running("embedded"))
        environ = stack.enter_context(seaweedfs(environ))
        environ |= {"APP_ALLOWED_HOSTS": "127.0.0.1", "APP_DEBUG": "false"}
        environ |= {"APP_AUDIT_FILE": os.devnull}
        with tempfile.TemporaryDirectory() as folder:  # without static files there is no login
            environ["APP_STATIC_ROOT"] = folder
            manage = [sys.executable, "manage.py"]
            process([*manage, "collectstatic", "--noinput", "--verbosity=0"], environ)
            process([*manage, "migrate", "--verbosity=0"], environ)
            token = process([*manage, "shell", "-v0", "-c", PREPARE], environ).output.decode()
            url = f"http://127.0.0.1:{start(stack, ['project.server'], environ)}"
        pool = urllib3.PoolManager(maxsize=CLIENTS)
        client, bucket = s3_client(environ), environ["APP_BUCKET_NAME"]
        ways: dict[str, Upload] = {
            "boto3 alone": partial(_put, client, bucket),
            "the API": partial(_post, pool, url, token.strip()),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(min(rounds, ROUNDS) + 1):
            for name, upload in ways.items():
                found[name].append(_all(upload, f"{name[-3:]}/{number}"))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in found.items()}  # warm
    alone = medians["boto3 alone"]
    rows = [
        [name, f"{seconds:.1f} s", f"{FILES / seconds:.0f}", f"{seconds / alone:.2f}"]
        for name, seconds in medians.items()
    ]
    print(f"{FILES:,} files of {len(DATA):,} bytes to SeaweedFS, {CLIENTS} at a time.\n")
    table(["1,000 small files", "wall", "files/s", "ratio"], rows)


def _all(upload: Upload, prefix: str) -> float:
    """Return the seconds that all files take."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        for _ in threads.map(upload, [f"{prefix}/{number}.txt" for number in range(FILES)]):
            pass
    return time.perf_counter() - began


def _put(client: Any, bucket: str, key: str) -> None:
    client.put_object(Bucket=bucket, Key=key, Body=DATA, IfNoneMatch="*", ContentType="text/plain")


def _post(pool: urllib3.PoolManager, url: str, token: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    answer = pool.request(
        "POST", f"{url}/api/files/?key={key}", body=DATA, headers=headers, retries=False
    )
    assert answer.status == 201, (answer.status, answer.data)
