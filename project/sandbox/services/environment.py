"""What the environment names, as in production: nothing is started.

The tests get a place of their own in it, a prefix of the bucket and a schema of the database with
a random name. They touch nothing else, and the place is gone afterwards.
"""

import json
import os
import runpy
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import ImproperlyConfigured

from project import aws
from project.postgresql import credentials
from project.sandbox.services import lifetime
from project.sandbox.services.processes import ServicesError
from project.sandbox.services.variables import site_variables

_ERRORS = (BotoCoreError, ClientError, psycopg.Error)
_RECORD = "place.json"
_SETTINGS = str(Path(__file__).parents[2] / "settings.py")
_WHERE = ("APP_BUCKET_", "APP_DB_", "AWS_", "PG")  # variables that begin so say where it is


def describe() -> str:
    """Return what is taken."""
    bucket, secret = (os.environ.get(f"APP_{name}") for name in ("BUCKET_NAME", "DB_SECRET"))
    return f"a place of our own in the bucket {bucket} and the database of the secret {secret}"


def start(folder: Path) -> dict[str, str]:
    """Take a place, and note it in the folder; return the variables. Raises ServicesError.

    A place in which there is anything is refused. `remove` ends it.
    """
    settings, name = _settings(), f"files-tests-{secrets.token_hex(8)}"
    storage = settings["STORAGES"]["default"]["OPTIONS"]
    location, schema = f"{storage['location']}{name}/", name.replace("-", "_")
    try:
        with _bucket(settings, location) as bucket, _connect(settings) as connection:
            bucket.refuse_objects()
            _require_extension(connection)
            connection.execute(f"CREATE SCHEMA {schema}")
            _note(folder, _where(settings), location, schema)  # before it is committed
    except _ERRORS as error:
        raise ServicesError(f"The environment gives no place to work in: {_line(error)}") from error
    found = {name: os.environ[name] for name in os.environ if name.startswith(_WHERE)}
    options = f"{found.get('PGOPTIONS', '')} -c search_path={schema}".strip()
    return found | site_variables() | {"APP_BUCKET_LOCATION": location, "PGOPTIONS": options}


def part(worker: str) -> dict[str, str]:
    """Return the variables of one of several processes that share the place, each with a part."""
    return {
        "APP_BUCKET_LOCATION": f"{os.environ['APP_BUCKET_LOCATION']}{worker}/",
        "PGOPTIONS": f"{os.environ['PGOPTIONS']}_{worker}",
    }


def remove(folder: Path) -> None:
    """Remove the place that the folder notes, with all that is in it.

    Raises ServicesError, also where the environment names another bucket or database now.
    """
    record = folder / _RECORD
    if not record.exists():
        return
    where, location, schema = json.loads(record.read_bytes())
    lifetime.end_processes(lifetime.users({lifetime.VARIABLE: str(folder)}))
    try:
        settings = _settings()
        if _where(settings) != where:
            raise ServicesError("The environment names another place.")
        with _bucket(settings, location) as bucket, _connect(settings) as connection:
            bucket.remove_objects()
            _remove_schemas(connection, schema)
    except (*_ERRORS, ServicesError) as error:
        raise ServicesError(
            f"{location} in the bucket and the schema {schema} stay until the next run in the"
            f" environment that names them: {_line(error)}"
        ) from error


def _note(folder: Path, *place: Any) -> None:
    (folder / _RECORD).write_text(json.dumps(place), "utf-8")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _settings() -> dict[str, Any]:
    """Return the settings of this environment, read as at a start. Raises ServicesError."""
    try:
        found = runpy.run_path(_SETTINGS)
    except ImproperlyConfigured as error:
        raise ServicesError(str(error)) from error
    if not found["CONFIGURED"]:
        raise ServicesError(found["NOTHING_TO_WORK_ON"])
    return found


def _where(settings: dict[str, Any]) -> list[str]:
    """Return what tells this bucket and this database from all others."""
    storage, database = settings["STORAGES"]["default"]["OPTIONS"], settings["DATABASES"]["default"]
    with closing(_client()) as s3:
        endpoint = s3.meta.endpoint_url
    return [
        *(endpoint, storage["bucket_name"]),
        *(str(database[name]) for name in ("HOST", "PORT", "NAME")),
    ]


# The database


def _connect(settings: dict[str, Any]) -> psycopg.Connection[Any]:
    found = settings["DATABASES"]["default"]
    host, port, user, options = found["HOST"], found["PORT"], found["USER"], found["OPTIONS"]
    password = found["PASSWORD"]
    if "iam" in options:
        user, password = credentials.token(host, str(port), user).login()
    return psycopg.connect(
        host=host,
        port=port,
        dbname=found["NAME"],
        user=user,
        password=password,
        **{name: value for name, value in options.items() if name not in {"iam", "secret"}},
    )


def _require_extension(connection: psycopg.Connection[Any]) -> None:
    """Raise ServicesError where there is no pg_trgm: others would soon use one of ours."""
    if not connection.execute("SELECT FROM pg_extension WHERE extname = 'pg_trgm'").fetchall():
        raise ServicesError(
            f"The database {connection.info.dbname} has no pg_trgm: `CREATE EXTENSION pg_trgm` in"
            " it makes one, which stays."
        )


def _remove_schemas(connection: psycopg.Connection[Any], name: str) -> None:
    """Remove the schema and those of its parts."""
    found = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [name]
    )
    for (schema,) in found.fetchall():
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


# The bucket


def _client() -> Any:
    """Raises ServicesError, as for an endpoint that is no URL."""
    try:
        return aws.session().create_client("s3")
    except (BotoCoreError, ValueError) as error:
        raise ServicesError(f"There is no S3 to ask: {_line(error)}") from error


@contextmanager
def _bucket(settings: dict[str, Any], location: str) -> Iterator["_Bucket"]:
    with closing(_client()) as s3:
        yield _Bucket(s3, settings["STORAGES"]["default"]["OPTIONS"]["bucket_name"], location)


class _Bucket(NamedTuple):
    """What lies below the prefix: objects, their versions, and uploads that have not ended."""

    s3: Any
    name: str
    location: str

    def refuse_objects(self) -> None:
        """Raise ServicesError where there is anything."""
        if [*self._uploads(), *self._versions()]:
            raise ServicesError(
                f"There is something below {self.location} in the bucket {self.name} that this"
                " run has not made."
            )

    def remove_objects(self) -> None:
        for upload in self._uploads():
            self.s3.abort_multipart_upload(**upload)
        for version in self._versions():
            self.s3.delete_object(**version)

    def _uploads(self) -> Iterator[dict[str, str]]:
        for page in self._pages("list_multipart_uploads", EncodingType="url"):
            for entry in page.get("Uploads", ()):
                yield self._parameters(entry | {"Key": unquote_plus(entry["Key"])}, "UploadId")

    def _versions(self) -> Iterator[dict[str, str]]:
        """Yield the versions; an object in a bucket without them is the version null."""
        for page in self._pages("list_object_versions"):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield self._parameters(entry, "VersionId")

    def _pages(self, operation: str, **parameters: str) -> Any:
        parameters |= {"Bucket": self.name, "Prefix": self.location}
        return self.s3.get_paginator(operation).paginate(**parameters)

    def _parameters(self, entry: dict[str, str], name: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": entry["Key"], name: entry[name]}
