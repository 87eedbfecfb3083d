"""The services that the tests run on, and the fixtures that they share."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import django
import pytest
from django.conf import settings

from project.sandbox import services

pytest_plugins = ["pytester", "tests.faults", "tests.isolation", "tests.servers"]

pytest.register_assert_rewrite("tests.operations")

_services = ExitStack()
_header = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--services",
        choices=services.KINDS,
        default="auto",
        help="what the tests run on: containers, embedded services, or the first that works",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the services and put their variables in place; only then name the settings.

    A settings module that pytest-django finds earlier it loads earlier, without the variables.
    Workers of pytest-xdist inherit the environment, and take a bucket of their own.
    """
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["APP_BUCKET_NAME"] += f"-{worker}"
        config.stash[_header] = ""
    elif not config.option.help:
        lines: list[str] = []
        try:
            environ = _services.enter_context(
                services.running(config.option.services, lines.append)
            )
        except services.ServicesError as error:
            raise pytest.UsageError(str(error)) from error
        os.environ.clear()
        os.environ.update(environ)
        config.stash[_header] = f"services: {lines[0]}"
    if not config.option.help:
        os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
        django.setup()
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a quick one
        del os.environ["DJANGO_SETTINGS_MODULE"]  # a worker would load the settings too early


def pytest_report_header(config: pytest.Config) -> str:
    return config.stash.get(_header, "")


def pytest_unconfigure() -> None:
    _services.close()


# What a test can ask for


@pytest.fixture(scope="session")
def bucket(_bucket: str) -> str:
    """The name of the bucket, which is empty: `s3.list_objects_v2(Bucket=bucket)`."""
    return _bucket


@pytest.fixture(scope="session")
def s3(_bucket: str) -> Any:
    """A boto3 client of S3: `s3.put_object(Bucket=bucket, Key="a.txt", Body=b"text")`."""
    return boto3.client("s3")


@pytest.fixture
def storage(_bucket: str) -> Any:
    """The storage of the project, with exact keys: `storage.open("a.txt").read()`."""
    from django.core.files.storage import default_storage

    return default_storage


@pytest.fixture
def put(storage: Any) -> Callable[..., None]:
    """Write an object without a row: `put("a.txt", b"text", ContentType="text/plain")`."""

    def put(key: str, data: bytes, **parameters: str) -> None:
        storage.client.put_object(Bucket=storage.bucket_name, Key=key, Body=data, **parameters)

    return put


@pytest.fixture
def make_file(put: Callable[..., None], db: None) -> Callable[..., Any]:
    """Make an object and its row, return the row: `file = make_file("a.txt", b"text")`."""
    from files.models import File

    def make_file(key: str = "a.txt", data: bytes = b"text", **parameters: str) -> File:
        put(key, data, **parameters)
        file = File.objects.create(object_key=key)
        file.refresh_from_storage()
        return file

    return make_file


@pytest.fixture
def viewer(db: None, client: Any) -> Any:
    """A client of a user who may view files: `viewer.get(f"/files/{file.pk}/")`."""
    from django.contrib.auth.models import Permission, User

    user = User.objects.create_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_file"))
    client.force_login(user)
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
