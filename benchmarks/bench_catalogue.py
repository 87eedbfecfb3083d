"""A bucket and its catalogue: check_files and import_files, against what one writes first."""

import gzip
import hashlib
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import listing_server
from benchmarks.bench_migrate import parameters
from benchmarks.measure import ROOT, Run, median, process, s3_client, table
from project.sandbox import services

OBJECTS = 100_000
LARGE = 1_000_000
SMALL = 10_000
ROUNDS = 5  # at most
FILES = 8  # of a report

MANAGE = [sys.executable, "manage.py"]
LOOP = """
import boto3, os
pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(
    Bucket=os.environ["APP_BUCKET_NAME"]
)
print(sum(len(page["Contents"]) for page in pages))
"""
FILL = f"""
    INSERT INTO files (object_key, size, etag)
    SELECT to_char(n, '"data/"FM00000000".bin"'), n %% {listing_server.SIZE},
        '"' || lpad(to_hex(n), 32, '0') || '"'
    FROM generate_series(0, %s - 1) AS n
"""
COLUMNS = "object_key, size, etag, modified_at, storage_class, content_type"
BULK = """
import sys
from files.catalogue.walk import Part, Walk
from files.models import File
for stretch in Walk(Part()).stretches():
    File.objects.bulk_create([
        File(
            object_key=key, size=entry.size, etag=entry.etag, modified_at=entry.modified_at,
            storage_class=entry.storage_class, content_type="application/octet-stream",
        )
        for key, entry in stretch.objects.items()
    ])
"""


def run(rounds: int, objects: Sequence[int] = (OBJECTS,)) -> None:
    for number in objects:
        _check(min(rounds, ROUNDS), number)
    _memory()
    for number in objects:
        _import(min(rounds, ROUNDS), number)
        _inventory(min(rounds, ROUNDS), number)


# On radosgw


def _check(rounds: int, objects: int) -> None:
    with services.running("radosgw") as environ, tempfile.TemporaryDirectory() as folder:
        environ |= {"APP_DEBUG": "false", "AWS_DEFAULT_REGION": environ["AWS_REGION"]}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        remote = _fill(environ, Path(folder), objects)
        process([*MANAGE, "migrate", "--verbosity=0"], environ)
        start = time.perf_counter()
        process([*MANAGE, "import_files", "--verbosity=0"], environ)
        print(f"import_files: {objects / (time.perf_counter() - start):,.0f} objects/s\n")
        rclone = str(Path(sys.executable).with_name("rclone"))
        ways = {
            "a loop over boto3's list_objects_v2": [sys.executable, "-c", LOOP],
            "`check_files`": [*MANAGE, "check_files"],
            "`check_files --workers=1`": [*MANAGE, "check_files", "--workers=1"],
            "`rclone lsf`": [rclone, "lsf", "-R", "--fast-list", "--files-only", remote],
            "`rclone check`, of a folder": [
                *(rclone, "check", "--size-only", "--fast-list", "--checkers=4", folder, remote),
            ],
        }
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, command in ways.items():
                runs[name].append(process(command, environ))
        first = next(iter(runs.values()))
    table(
        [f"{objects:,} objects", "wall", "ratio", "CPU", "ratio", "peak"],
        [
            [
                name,
                f"{median(found, 'wall'):.2f} s",
                f"{median(found, 'wall') / median(first, 'wall'):.2f}",
                f"{median(found, 'cpu'):.2f} s",
                f"{median(found, 'cpu') / median(first, 'cpu'):.2f}",
                f"{median(found, 'peak'):.0f} MiB",
            ]
            for name, found in runs.items()
        ],
    )


def _fill(environ: dict[str, str], folder: Path, objects: int) -> str:
    """Write small objects by rclone; return its name of the bucket."""
    for number in range(objects):
        path = folder / f"{number % 100:02}" / f"{number:08}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * (number % 10))
    environ |= {
        "RCLONE_CONFIG_S_TYPE": "s3",
        "RCLONE_CONFIG_S_PROVIDER": "Ceph",
        "RCLONE_CONFIG_S_ENV_AUTH": "true",
        "RCLONE_CONFIG_S_ENDPOINT": environ["AWS_ENDPOINT_URL_S3"],
    }
    remote = f"S:{environ['APP_BUCKET_NAME']}"
    rclone = str(Path(sys.executable).with_name("rclone"))
    options = ["--transfers=16", "--s3-no-check-bucket", "--s3-no-head", "--no-traverse"]
    process([rclone, "copy", *options, str(folder), remote], environ)
    return remote


# On a listing that costs next to nothing


@contextmanager
def _listed(objects: int) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        environ = stack.enter_context(services.running("embedded"))
        port = services.free_port()
        command = [sys.executable, "-m", "benchmarks.listing_server", str(port), str(objects)]
        services.start_server(stack, command, signal.SIGTERM, cwd=ROOT)
        environ |= {"APP_DEBUG": "false", "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        process([*MANAGE, "migrate", "--verbosity=0"], environ)
        yield environ


def _memory() -> None:
    """Print how much memory check_files takes of small and large buckets."""
    peaks = {}
    for objects in (SMALL, LARGE):
        with _listed(objects) as environ, psycopg.connect(**parameters(environ)) as connection:
            connection.execute(FILL, [objects])
            connection.commit()
            connection.execute("ANALYZE files")
            for workers in (1, 4):
                found = process([*MANAGE, "check_files", f"--workers={workers}"], environ)
                peaks[objects, workers] = found
    table(
        ["`check_files`", "workers", "wall", "CPU", "peak"],
        [
            [
                f"{objects:,} objects",
                str(workers),
                f"{found.wall:.1f} s",
                f"{found.cpu:.1f} s",
                f"{found.peak:.0f} MiB",
            ]
            for (objects, workers), found in peaks.items()
        ],
    )


def _import(rounds: int, objects: int) -> None:
    with _listed(objects) as environ:
        ways = {
            "`import_files`": [*MANAGE, "import_files", "-v0"],
            "`import_files --workers=1`": [*MANAGE, "import_files", "-v0", "--workers=1"],
            "`bulk_create`": [*MANAGE, "shell", "-v0", "-c", BULK],
        }
        _beside_copy(rounds, objects, ways, environ)


def _beside_copy(
    rounds: int, objects: int, commands: dict[str, list[str]], environ: dict[str, str]
) -> None:
    """Print how fast the commands make the rows, and how fast COPY makes the same ones."""
    with psycopg.connect(**parameters(environ)) as connection:
        ways: dict[str, Callable[[], object]] = {"COPY": lambda: _copy(connection, objects)}
        for name, command in commands.items():
            ways[name] = partial(process, command, environ)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                connection.execute("TRUNCATE files")
                connection.commit()
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
                count = connection.execute("SELECT count(*) FROM files").fetchone()
                assert count == (objects,), (name, count)
                connection.commit()
    first = statistics.median(seconds["COPY"])
    table(
        [f"{objects:,} rows", "wall", "rows/s", "rate, of COPY's"],
        [
            [
                name,
                f"{statistics.median(found):.1f} s",
                f"{objects / statistics.median(found):,.0f}",
                f"{first / statistics.median(found):.2f}",
            ]
            for name, found in seconds.items()
        ],
    )


# By a report


def _inventory(rounds: int, objects: int) -> None:
    with services.running("embedded") as environ:
        environ |= {"APP_DEBUG": "false", "AWS_ENDPOINT_URL_S3": environ["AWS_ENDPOINT_URL"]}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        process([*MANAGE, "migrate", "--verbosity=0"], environ)
        command = [*MANAGE, "import_files", "-v0", f"--inventory={_report(environ, objects)}"]
        ways = {
            "`import_files --inventory`": command,
            "`import_files --inventory --workers=1`": [*command, "--workers=1"],
        }
        _beside_copy(rounds, objects, ways, environ)


def _report(environ: dict[str, str], objects: int) -> str:
    """Write a report of so many objects into the bucket, in FILES files; return its address."""
    bucket, files = environ["APP_BUCKET_NAME"], []
    with closing(s3_client(environ)) as s3:
        for number in range(FILES):
            text = "".join(
                f'"{bucket}","{listing_server.KEY.format(n)}","{n % listing_server.SIZE}",'
                f'"{listing_server.WRITTEN}",{listing_server.ETAG.format(n)},"STANDARD"\n'
                for n in range(objects * number // FILES, objects * (number + 1) // FILES)
            )
            data, key = gzip.compress(text.encode()), f"report/{number}.csv.gz"
            s3.put_object(Bucket=bucket, Key=key, Body=data)
            files.append({"key": key, "MD5checksum": hashlib.md5(data).hexdigest()})
        manifest = {
            "sourceBucket": bucket,
            "creationTimestamp": str(int(time.time() * 1000)),
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass",
            "files": files,
        }
        s3.put_object(Bucket=bucket, Key="report/manifest.json", Body=json.dumps(manifest).encode())
    return f"s3://{bucket}/report/manifest.json"


def _copy(connection: Any, objects: int) -> None:
    with connection.cursor().copy(f"COPY files ({COLUMNS}) FROM STDIN") as copy:
        for n in range(objects):
            copy.write_row(
                (
                    listing_server.KEY.format(n),
                    n % listing_server.SIZE,
                    listing_server.ETAG.format(n),
                    listing_server.WRITTEN,
                    "STANDARD",
                    "application/octet-stream",
                )
            )
    connection.commit()
