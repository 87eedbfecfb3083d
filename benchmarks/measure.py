"""What the benchmarks share: running processes in turns, and printing the table."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from project.sandbox import services

ROOT = Path(__file__).parent.parent
MIB = 2**20


class Run(NamedTuple):
    """One run of a process: seconds of wall time and of CPU, peak memory in MiB, its output."""

    wall: float
    cpu: float
    peak: float
    output: bytes


def process(command: Sequence[str], environ: dict[str, str]) -> Run:
    """Run a command to its end, which must be a good one."""
    start = time.perf_counter()
    running = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE)
    assert running.stdout is not None
    output = running.stdout.read()
    _, status, usage = os.wait4(running.pid, 0)
    wall = time.perf_counter() - start
    running.returncode = os.waitstatus_to_exitcode(status)
    running.stdout.close()
    if running.returncode:
        raise SystemExit(f"{command} ended with {running.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def median(runs: list[Run], field: str) -> float:
    return statistics.median(getattr(run, field) for run in runs)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


@contextmanager
def seaweedfs(environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """Start SeaweedFS, which checks signatures, as S3; yield the environment that points at it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="files-weed-")))
        identity = {
            "name": "benchmark",
            "credentials": [
                {
                    "accessKey": environ["AWS_ACCESS_KEY_ID"],
                    "secretKey": environ["AWS_SECRET_ACCESS_KEY"],
                }
            ],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("master", "volume", "filer", "s3", "admin")
        # Without a port of its own gRPC takes one that another SeaweedFS may have taken.
        kinds = [f"{name}.{kind}" for name in names for kind in ("port", "port.grpc")]
        ports = {kind: services.free_port() for kind in [*kinds, "webdav.port"]}
        services.start_server(
            stack,
            [
                *(Path(sys.executable).with_name("weed"), "mini", f"-dir={folder}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}"),
                *("-admin.ui=false", "-webdav=false", "-master.telemetry=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # one port for all SeaweedFS otherwise
                *(f"-{kind}={port}" for kind, port in ports.items()),
            ],
            signal.SIGINT,
            cwd=folder,
            env=services.clean_environ(),
        )
        found = environ | {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_DEFAULT_REGION": environ["AWS_REGION"],
        }
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        with closing(s3_client(found)) as client:
            services.patiently(lambda: client.create_bucket(Bucket=found["APP_BUCKET_NAME"]))
        yield found


def s3_client(environ: dict[str, str]) -> Any:
    """Return boto3's client for the S3 that the environment points at."""
    return boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL_S3"],
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
