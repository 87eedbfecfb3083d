"""The services that the tests run on, and the fixtures that they share."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import django
import psutil
import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import close_old_connections, connections
from django.test.signals import setting_changed
from django.utils.functional import empty

from project import aws
from project.sandbox import services
from tests.faults import STALL, FaultProxy

ROOT = Path(__file__).parent.parent

pytest.register_assert_rewrite("tests.operations")

_services = ExitStack()
_header = pytest.StashKey[str]()
_signal = pytest.StashKey[int]()

ENDS = (signal.SIGTERM, signal.SIGHUP)

# What runs no test, and so needs no services.
_RUNS_NOTHING = (
    *("cacheshow", "collectonly", "help", "markers"),
    *("show_fixtures_per_test", "showfixtures", "version"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--services",
        choices=services.KINDS,
        default="auto",
        help="what the tests run on: containers, embedded services, these with radosgw for S3, or the"
        " first of containers and embedded services that works",
    )
    parser.addoption(
        "--reuse-services",
        action="store_true",
        help="keep the services and the test database, and take those of the last run:"
        " `manage.py sandbox --stop` ends them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the services and put their variables in place; only then load the settings.

    Workers of pytest-xdist inherit the environment, and take a bucket of their own.
    """
    _heed_signals(config)
    config.addinivalue_line("markers", "needs(promise): what the test expects of S3")
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["APP_BUCKET_NAME"] += f"-{worker}"
        config.stash[_header] = ""
    elif any(config.getoption(name, False) for name in _RUNS_NOTHING):
        _replace_environ(services.clean_environ())
        config.stash[_header] = "services: none, since no test runs"
    else:
        _start_services(config)
    _load_settings()
    if config.option.reuse_services:
        config.option.reuse_db = True
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = _database_name()


def _heed_signals(config: pytest.Config) -> None:
    """Let what ends the run end it as Ctrl-C does, so that nothing stays."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in ENDS:
            signal.signal(each, signal.SIG_IGN)  # once is enough
        config.stash[_signal] = number
        raise KeyboardInterrupt

    for number in ENDS:
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` lets SIGHUP be ignored
            signal.signal(number, end)


def _start_services(config: pytest.Config) -> None:
    lines: list[str] = []
    try:
        environ = _services.enter_context(
            services.running(config.option.services, lines.append, config.option.reuse_services)
        )
    except services.ServicesError as error:
        raise pytest.UsageError(str(error)) from error
    _replace_environ(environ)
    config.stash[_header] = f"services: {lines[0]}"


def _replace_environ(environ: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)


def _load_settings() -> None:
    """Load the settings in this environment, and anew where pytest-django has done so before.

    It does where DJANGO_SETTINGS_MODULE, `--ds` or an ini file names them.
    """
    if settings.configured:
        for module in ("project.settings", "project.secretsmanager"):
            sys.modules.pop(module, None)
        aws.session.cache_clear()
        settings._wrapped = empty
        connections.__dict__.pop("settings", None)
        connections.__init__()
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    django.setup()
    setting_changed.send(None, setting="STORAGES", value=settings.STORAGES, enter=True)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a quick one
    del os.environ["DJANGO_SETTINGS_MODULE"]  # a worker would load the settings too early


def _database_name() -> str:
    """Return the name of a test database of these migrations and no others."""
    found = hashlib.sha256(django.get_version().encode())
    for path in sorted(ROOT.glob("files/migrations/*.py")):
        found.update(path.read_bytes())
    return f"test_files_{found.hexdigest()[:12]}"


# What radosgw 16 does otherwise than AWS.
_BROKEN = {
    "checksums": "radosgw ignores x-amz-checksum-sha256",
    "conditional completions": "radosgw ignores If-None-Match of a completion",
    "conditional puts": "radosgw takes no ETag in quotes in If-Match of a put",
    "tags of uploads": "radosgw ignores the tags of an upload in parts",
    "whole copies": "radosgw's CopyObject that replaces metadata loses the tags",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests of what the S3 of the run does not do."""
    if config.option.services == "radosgw":
        for item in items:
            for marker in item.iter_markers("needs"):
                item.add_marker(pytest.mark.skip(_BROKEN[marker.args[0]]))


def pytest_report_header(config: pytest.Config) -> str:
    return config.stash.get(_header, "")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if number := session.config.stash.get(_signal, None):
        session.exitstatus = 128 + number
    if exitstatus == pytest.ExitCode.INTERRUPTED and "PYTEST_XDIST_WORKER" not in os.environ:
        for process in services.users(os.environ):  # such as workers of pytest-xdist
            with suppress(psutil.NoSuchProcess):
                process.terminate()


def pytest_unconfigure() -> None:
    _services.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Clear the table of what is under way, which operations commit also inside a test's `db`."""
    yield
    from django.db import connection

    if connection.connection is not None and not connection.in_atomic_block:
        with suppress(psycopg.Error):  # as where a test has migrated back
            connection.connection.execute("DELETE FROM files_operation")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any, pytestconfig: Any) -> None:
    """Make the test database, and empty one that is kept: a run that was killed leaves rows."""
    if pytestconfig.option.reuse_services:
        with django_db_blocker.unblock():
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="session")
def _bucket() -> str:
    from django.core.files.storage import default_storage

    client, name = default_storage.client, default_storage.bucket_name
    if name != "files":  # a worker's own
        services.make_bucket(client, name)
    return str(name)


@pytest.fixture
def storage(_bucket: str) -> Iterator[Any]:
    """The storage of the project, on a bucket that is empty before and after the test."""
    from django.core.files.storage import default_storage

    yield default_storage
    client = default_storage.client
    for upload in client.list_multipart_uploads(Bucket=_bucket).get("Uploads", ()):
        with suppress(client.exceptions.NoSuchUpload):  # ended meanwhile
            client.abort_multipart_upload(
                Bucket=_bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )
    while found := client.list_objects_v2(Bucket=_bucket).get("Contents"):
        for entry in found:
            client.delete_object(Bucket=_bucket, Key=entry["Key"])


@pytest.fixture
def put(storage: Any) -> Callable[..., None]:
    """Write an object as somebody else does: with boto3, under the key as it is."""

    def put(key: str, data: bytes, **parameters: str) -> None:
        storage.client.put_object(Bucket=storage.bucket_name, Key=key, Body=data, **parameters)

    return put


@pytest.fixture
def make_file(put: Callable[..., None], db: None) -> Callable[..., Any]:
    """Make an object and its row."""
    from files.models import File

    def make_file(key: str = "a.txt", data: bytes = b"text", **parameters: str) -> File:
        put(key, data, **parameters)
        file = File.objects.create(object_key=key)
        file.refresh_from_storage()
        return file

    return make_file


@pytest.fixture
def during(storage: Any) -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Do something just before the next request of an S3 operation is sent."""
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


@pytest.fixture
def referring(db: None) -> Iterator[Callable[[str], None]]:
    """Make a row of another table that needs the file of a key, as Django makes foreign keys."""
    from django.db import connection

    def referring(key: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS referring"
                " (file_id bigint REFERENCES files DEFERRABLE INITIALLY DEFERRED)"
            )
            cursor.execute(
                "INSERT INTO referring SELECT id FROM files WHERE object_key = %s", [key]
            )

    yield referring
    if not connection.in_atomic_block:  # a flush could not truncate what it refers to
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS referring")


@pytest.fixture
def viewer(db: None, client: Any) -> Any:
    """A client logged in as somebody who may view files and is not staff."""
    from django.contrib.auth.models import Permission, User

    user = User.objects.create_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_file"))
    client.force_login(user)
    return client


def manage(
    *arguments: str, environ: dict[str, str | None] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run manage.py as a process, in this environment with changes; None takes a variable out."""
    merged = os.environ | (environ or {})
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def fake_secretsmanager() -> Iterator[Callable[[int, dict[str, str]], str]]:
    """Serve one answer that the real service gives only with accounts and policies."""
    servers = []

    def start(status: int, answer: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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
        found = bucket.Bucket(aws.session(), client, storage.bucket_name)
        buckets.append(found)
        monkeypatch.setattr(base, "bucket", lambda *place: found)

    yield read_from
    for found in buckets:
        found._http.close()


@pytest.fixture
def unreachable(read_from: Callable[[str], None]) -> Callable[[], None]:
    """Return what puts S3 out of reach."""
    return lambda: read_from("http://127.0.0.1:9")


@pytest.fixture
def proxy(
    storage: Any, read_from: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """Let the application read from S3 through a proxy that can break things."""
    from files.storage import bucket

    monkeypatch.setattr(bucket, "READ_TIMEOUT", STALL / 4)
    proxy = FaultProxy(storage.client.meta.endpoint_url)
    read_from(f"http://{proxy.host}")
    yield proxy
    proxy.shutdown()
    proxy.server_close()


@contextmanager
def closing(response: Any) -> Iterator[Any]:
    """Close a response whose body nobody reads, but not the database connection of the test."""
    try:
        yield response
    finally:
        request_finished.disconnect(close_old_connections)
        response.close()
        request_finished.connect(close_old_connections)


@pytest.fixture
def serve(transactional_db: None) -> Iterator[Callable[..., str]]:
    """Start the production server, as configured, on the test database; return its address."""
    with ExitStack() as stack:

        def serve(*command: str, **environ: str) -> str:
            from django.db import connection

            port = services.free_port()
            name = connection.settings_dict["NAME"]
            default = ["gunicorn", "project.wsgi", "--workers=1", f"--bind=127.0.0.1:{port}"]
            services.start_server(
                stack,
                [sys.executable, "-m", *([part.format(port=port) for part in command] or default)],
                signal.SIGQUIT,  # which waits for no connection that is kept
                cwd=ROOT,
                env=os.environ | {"APP_DB_NAME": name} | environ,
            )
            wait_for(port)
            return f"http://127.0.0.1:{port}"

        yield serve


def other_sessions(at_most: int) -> list[tuple[str, str]]:
    """Return state and last query of others' sessions, when PostgreSQL has ended the rest.

    An autovacuum, which may come at any time and take its time, is no session of a client.
    """
    from django.db import connection

    end = time.monotonic() + 10
    while True:
        with connection.cursor() as cursor:
            cursor.execute("select pg_stat_clear_snapshot()")  # which a transaction keeps
            cursor.execute(
                "select state, query from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
            found = cursor.fetchall()
        if len(found) <= at_most or time.monotonic() > end:
            return found
        time.sleep(0.1)


def wait_for(port: int) -> None:
    """Return when something listens on the port."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
