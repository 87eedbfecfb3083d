"""Whose the bucket is: an object in it names the one database that may delete objects.

A copy of the database, such as production's on staging, has the same rows and may have the same
bucket: what it deleted would be gone for the other one too.
"""

import errno
import json
import logging
from contextlib import closing, suppress
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from files.keys import OWNER
from files.models import File
from files.storage import read_stat

LIMIT = 4096  # bytes: what is larger was written by somebody else
HOW = "to hand it over to this database, run `manage.py own_bucket --take`"

logger = logging.getLogger(__name__)


class NotOwnerError(OSError):
    """The bucket is another database's."""


class Owner(NamedTuple):
    """A database, by what tells it from a copy of it; `since` when the bucket is its own.

    A file system's copy has the same system identifier, and so has a snapshot that RDS restores,
    but not the same host. It is empty where the role may not ask for it.
    """

    host: str
    port: str
    name: str
    schema: str
    system_identifier: str
    since: str

    def is_same(self, other: "Owner") -> bool:
        """Return whether both are one database."""
        ids = {self.system_identifier, other.system_identifier} - {""}
        return self[:4] == other[:4] and len(ids) <= 1

    def __str__(self) -> str:
        host = f"{self.host or 'localhost'}:{self.port or 5432}"
        system = f", system {self.system_identifier}" if self.system_identifier else ""
        return f"{host}/{self.name} (schema {self.schema}{system})"


class Marker(NamedTuple):
    """The object, with its ETag; `owner` is None where it is not as we write it."""

    owner: Owner | None
    etag: str


def claim() -> None:
    """Return where the bucket is this database's, which it becomes where it was nobody's.

    Raises NotOwnerError where it is another's, and S3's errors.
    """
    marker, database = _read(), this()
    if marker is None:
        with suppress(FileExistsError):  # somebody was faster
            _write(database)
            logger.info("The bucket %s is from now on that of the database %s.", place(), database)
        marker = _read()  # not all servers keep the condition: the last one has it there
    _refuse_others(marker, database)


def check() -> None:
    """Raise NotOwnerError where the bucket is another database's: see `claim`."""
    _refuse_others(_read(), this())


def take() -> Owner | None:
    """Make the bucket this database's, whosever it was; return the owner before, if that is known.

    Raises ObjectChangedError or FileExistsError where somebody else does so at this moment.
    """
    marker = _read()
    _write(this(), marker.etag if marker else "")
    return marker and marker.owner


def owner() -> Owner | None:
    """Return whose the bucket is. Raises NotOwnerError where the object does not tell that."""
    marker = _read()
    if marker is None:
        return None
    return marker.owner or _refuse_unknown()


def this() -> Owner:
    """Return the database that this process is connected to."""
    found = connection.settings_dict
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_schema(), has_function_privilege('pg_control_system()', 'execute')"
        )
        schema, may_ask = cursor.fetchone()
        identifier = ""
        if may_ask:
            cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
            (identifier,) = cursor.fetchone()
    now = timezone.now().isoformat(timespec="seconds")
    return Owner(found["HOST"], str(found["PORT"]), found["NAME"], schema, identifier, now)


def place() -> str:
    """Return the bucket, with the location that is in front of all keys."""
    storage = File().storage
    return f"{storage.bucket_name}/{storage.location}".rstrip("/")


def _read() -> Marker | None:
    storage = File().storage
    try:
        response = storage.request("GET", OWNER)
    except FileNotFoundError:
        return None
    with closing(response):
        stat = read_stat(OWNER, response.headers)
        data = b"".join(storage.body(OWNER, response)) if stat.size <= LIMIT else b""
    return Marker(_parse(data), stat.etag)


def _parse(data: bytes) -> Owner | None:
    try:
        found = json.loads(data)
        return Owner(**{name: str(found[name]) for name in Owner._fields})
    except (KeyError, TypeError, ValueError):
        return None


def _write(owner: Owner, etag: str = "") -> None:
    data = json.dumps(owner._asdict(), indent=2, ensure_ascii=False)
    File().storage.put_own(OWNER, f"{data}\n".encode(), etag)


def _refuse_others(marker: Marker | None, database: Owner) -> None:
    if marker is None:
        return
    found = marker.owner or _refuse_unknown()
    if not found.is_same(database):
        text = f"The bucket {place()} is that of another database, {found}, since {found.since}"
        raise NotOwnerError(errno.EPERM, f"{text}: {HOW}")


def _refuse_unknown() -> Owner:
    text = f"The object {OWNER} in the bucket {place()} does not say whose the bucket is"
    raise NotOwnerError(errno.EPERM, f"{text}: {HOW}")
