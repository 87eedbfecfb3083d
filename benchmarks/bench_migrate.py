"""How long readers and writers of the script's table wait while it is migrated."""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import boto3
import psycopg

from benchmarks.measure import process, table
from project.sandbox import services

FILL = """
DROP TABLE IF EXISTS files;
CREATE TABLE files (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, object_key text NOT NULL
);
INSERT INTO files (object_key)
SELECT to_char(n % 1000, '"logs/app-"FM000/') || md5(n::text) || '.json'
FROM generate_series(1, {rows}) AS n;
VACUUM ANALYZE files
"""

# The columns as Django's own operations make them, with a folder that is stored.
COLUMNS = """
ALTER TABLE files ALTER id TYPE bigint, ALTER object_key TYPE text COLLATE "C";
ALTER TABLE files
    ADD size bigint, ADD content_type varchar(255) NOT NULL DEFAULT '',
    ADD etag varchar(255) NOT NULL DEFAULT '', ADD modified_at timestamptz,
    ADD created_at timestamptz NOT NULL DEFAULT now(), ADD missing_at timestamptz,
    ADD deleted_at timestamptz, ADD original_key text NOT NULL DEFAULT '',
    ADD folder text COLLATE "C"
        GENERATED ALWAYS AS (regexp_replace(object_key, '[^/]*$', '')) STORED
"""


class Waits(NamedTuple):
    """Seconds of the whole, and of each read and each write meanwhile."""

    whole: float
    reads: list[float]
    writes: list[float]


def run(_rounds: int, rows: Sequence[int] = (1_000_000,)) -> None:
    for size in rows:
        with services.running("embedded") as environ:
            environ |= {"APP_DEBUG": "false"}
            options = parameters(environ) | {"autocommit": True, "prepare_threshold": None}
            connect = partial(psycopg.connect, **options)
            with connect() as connection:
                ours = _ours(connection, connect, environ, size)
                once = _in_one_transaction(connection, connect, size)
        print(f"\n{size:,} files.\n")
        table(
            ["", "whole", "longest read", "longest write", "median read", "median write"],
            [_row("one transaction", once), _row("`manage.py migrate`", ours)],
        )


def parameters(environ: dict[str, str]) -> dict[str, Any]:
    """Return what psycopg takes to connect, as the script finds it out."""
    secrets = boto3.client(
        "secretsmanager",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
    secret = secrets.get_secret_value(SecretId=environ["APP_DB_SECRET"])["SecretString"]
    return {
        "host": environ["APP_DB_HOST"],
        "port": environ["APP_DB_PORT"],
        "dbname": environ["APP_DB_NAME"],
        "user": environ["APP_DB_USER"],
        "password": json.loads(secret)["password"],
    }


def _fill(connection: Any, rows: int) -> None:
    for statement in FILL.format(rows=rows).split(";"):
        connection.execute(statement)


def _ours(connection: Any, connect: Callable[[], Any], environ: Any, rows: int) -> Waits:
    _fill(connection, rows)
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    return _measure(connect, rows, lambda: process(command, environ))


def _in_one_transaction(connection: Any, connect: Callable[[], Any], rows: int) -> Waits:
    """Make the same columns and indexes as `migrate` has made, as it does by default."""
    indexes = connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'files' AND indexname <> 'files_pkey'"
    ).fetchall()
    _fill(connection, rows)

    def migrate() -> None:
        with connection.transaction():
            connection.execute(COLUMNS)
            for (definition,) in indexes:
                connection.execute(definition)

    return _measure(connect, rows, migrate)


def _measure(connect: Callable[[], Any], rows: int, migrate: Callable[[], object]) -> Waits:
    reads: list[float] = []
    writes: list[float] = []
    done = threading.Event()

    def read(n: int) -> tuple[str, Any]:
        return "SELECT object_key FROM files WHERE id = %s", n * 7919 % rows + 1

    def write(n: int) -> tuple[str, Any]:
        return "INSERT INTO files (object_key) VALUES (%s)", f"new/{n}"

    def loop(statement: Callable[[int], tuple[str, Any]], waits: list[float]) -> None:
        with connect() as connection:
            for n in count():
                if done.is_set():
                    return
                sql, value = statement(n)
                start = time.perf_counter()
                connection.execute(sql, [value])
                waits.append(time.perf_counter() - start)
                time.sleep(0.001)  # the machine has other things to do

    threads = [
        threading.Thread(target=loop, args=pair) for pair in [(read, reads), (write, writes)]
    ]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    try:
        migrate()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return Waits(time.perf_counter() - start, reads, writes)


def _row(name: str, waits: Waits) -> list[str]:
    return [
        name,
        f"{waits.whole:.0f} s",
        *(f"{max(each) * 1000:,.0f} ms" for each in (waits.reads, waits.writes)),
        *(f"{statistics.median(each) * 1000:.1f} ms" for each in (waits.reads, waits.writes)),
    ]
