"""The services that the tests run on, and the fixtures that they share."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from types import FrameType
from typing import Any

import django
import psutil
import pytest
import pytest_django.fixtures
from botocore.exceptions import ClientError
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test.signals import setting_changed
from django.utils.functional import empty

from project import aws
from project.sandbox import services
from tests import leaks, location
from tests.processes import ROOT

pytest_plugins = ["pytester", "tests.faults", "tests.isolation", "tests.nginx", "tests.servers"]

pytest.register_assert_rewrite("tests.operations")

_services = ExitStack()
_header = pytest.StashKey[str]()
_signal = pytest.StashKey[int]()

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
        help="what the tests run on: containers, embedded services, these with radosgw for S3, a"
        " place of their own in what the environment names, or the first of containers and embedded"
        " services that works",
    )
    parser.addoption(
        "--reuse-services",
        action="store_true",
        help="keep the services and the test database, and take those of the last run:"
        " `manage.py sandbox --stop` ends them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the services and put their variables in place; only then load the settings.

    Workers of pytest-xdist inherit the environment, and take a part of their own.
    """
    _heed_signals(config)
    config.addinivalue_line(
        "markers", "needs(promise): the test asks S3 for what `probe_bucket` calls by this name"
    )
    config.addinivalue_line(
        "markers", "alike: no server of S3 or PostgreSQL changes the outcome of the test"
    )
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        if config.option.services == "environment":
            os.environ.update(services.environment.part(worker))
        else:
            os.environ["APP_BUCKET_NAME"] += f"-{worker}"
        os.environ["PGAPPNAME"] += f"-{worker}"
        config.stash[_header] = ""
    elif any(config.getoption(name, False) for name in _RUNS_NOTHING):
        _replace_environ(services.clean_environ())
        config.stash[_header] = "services: none, since no test runs"
    else:
        _start_services(config)
    _load_settings()
    location.enter(settings.STORAGES["default"]["OPTIONS"]["location"])
    if config.option.reuse_services:
        config.option.reuse_db = True
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = _database_name()


def _heed_signals(config: pytest.Config) -> None:
    """Let what ends the run end it as Ctrl-C does, so that nothing stays."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in ENDS:
            signal.signal(each, signal.SIG_IGN)  # once is enough
        if number != signal.SIGINT:  # of which pytest has a status of its own
            config.stash[_signal] = number
        raise KeyboardInterrupt

    for number in ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` lets SIGHUP be
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
    os.environ |= {"DJANGO_SETTINGS_MODULE": "project.settings", "APP_JOBS": "true"}
    django.setup()
    setting_changed.send(None, setting="STORAGES", value=settings.STORAGES, enter=True)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a quick one
    del os.environ["DJANGO_SETTINGS_MODULE"]  # a worker would load the settings too early
    del os.environ["APP_JOBS"]  # commands start as they do without


def _database_name() -> str:
    """Return the name of a test database of these migrations and no others."""
    found = hashlib.sha256(django.get_version().encode())
    for path in sorted(ROOT.glob("files/migrations/*.py")):
        found.update(path.read_bytes())
    return f"test_files_{found.hexdigest()[:12]}"


def pytest_report_header(config: pytest.Config) -> str:
    return config.stash.get(_header, "")


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Show no frame but that of `end`: Python may know no line of one that a signal stops."""
    excinfo.traceback = excinfo.traceback[-1:]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if number := session.config.stash.get(_signal, None):
        session.exitstatus = 128 + number
    if exitstatus == pytest.ExitCode.INTERRUPTED and "PYTEST_XDIST_WORKER" not in os.environ:
        for process in services.users(os.environ):  # such as workers of pytest-xdist
            with suppress(psutil.NoSuchProcess):
                process.terminate()


def pytest_unconfigure() -> None:
    try:
        _services.close()
    except services.ServicesError as error:
        sys.stderr.write(f"{error}\n")


_test_database = pytest_django.fixtures.django_db_setup


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> None:
    """Make the test database, or only a schema in that which the environment names.

    A database that is kept is emptied: a run that was killed leaves rows.
    """
    options = request.config.option
    if options.services == "environment":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("SHOW search_path")
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {cursor.fetchone()[0]}")
            call_command("migrate", verbosity=0)
    else:
        request.getfixturevalue("_test_database")
    if options.reuse_services:
        with django_db_blocker.unblock():
            call_command("flush", interactive=False, verbosity=0)


# What a test can ask for


@pytest.fixture(scope="session")
def bucket(_bucket: str) -> str:
    """The name of the bucket, which is empty: `s3.list_objects_v2(Bucket=bucket)`."""
    return _bucket


@pytest.fixture(scope="session")
def s3(_bucket: str) -> Any:
    """A boto3 client of S3: `s3.put_object(Bucket=bucket, Key="a.txt", Body=b"text")`."""
    return location.client()


@pytest.fixture
def storage(_bucket: str) -> Any:
    """The storage of the project, with exact keys: `storage.open("a.txt").read()`."""
    from django.core.files.storage import default_storage

    return default_storage


@pytest.fixture(scope="session")
def own_services(pytestconfig: pytest.Config) -> None:
    """Skip the test with --services=environment: it changes or expects more than a place has.

    Such are buckets, rules, users, secrets, objects for everybody and a certain S3 server.
    """
    if pytestconfig.option.services == "environment":
        pytest.skip("it is for services that the tests start: it needs more than a place in them")


@pytest.fixture(scope="session")
def promised(_bucket: str) -> Callable[[str], Any]:
    """Find out whether S3 keeps a promise, once for each that a test needs."""
    from django.core.files.storage import default_storage

    from files.storage.probe import probe

    return cache(lambda name: probe(default_storage, [name])[0])


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Skip a test of which the S3 of the run does not keep a promise."""
    for marker in request.node.iter_markers("needs"):
        found = request.getfixturevalue("promised")(marker.args[0])
        if not found.kept:
            pytest.skip(f"S3 does not keep {marker.args[0]!r}: {found.detail}")


@pytest.fixture
def put(s3: Any, bucket: str) -> Callable[..., None]:
    """Write an object without a row: `put("a.txt", b"text", ContentType="text/plain")`."""

    def put(key: str, data: bytes, **parameters: str) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=data, **parameters)

    return put


@pytest.fixture
def put_nul(put: Callable[..., None]) -> None:
    """Write an object of the key `a\\0b`, of which there can be no row."""
    try:
        put("a\0b", b"text")
    except ClientError as error:
        pytest.skip(f"S3 keeps no key with a NUL character: {error}")


@pytest.fixture
def make_file(put: Callable[..., None], db: None) -> Callable[..., Any]:
    """Make an object and its row, return the row: `file = make_file("a.txt", b"text")`."""
    from files.models import File

    def make_file(key: str = "a.txt", data: bytes = b"text", **parameters: str) -> File:
        put(key, data, **parameters)
        return File.objects.create(object_key=key)

    return make_file


@pytest.fixture
def viewer(db: None, client: Any) -> Any:
    """A client of a user who may view files: `viewer.get(f"/files/{file.pk}/")`."""
    from django.contrib.auth.models import Permission, User

    user = User.objects.create_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_file"))
    client.force_login(user)
    leaks.add(client.cookies["sessionid"].value)
    return client


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
