"""What `manage.py check --deploy` finds out about bucket and database, `migrate` of the table."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004 - Django's own name
from django.db import connection, connections

from files.storage.probe import QUICK, Result, probe

MANY_IDS = 1_500_000_000  # of the 2,147,483,647 of an int

MESSAGES: dict[str, tuple[type[Error | Info | Warning], str]] = {
    "permissions": (Error, "files.E001"),
    "CORS": (Warning, "files.W001"),
    "clock": (Warning, "files.W003"),
    "privacy": (Warning, "files.W004"),
    "public access": (Warning, "files.W005"),
    "open CORS": (Warning, "files.W006"),
    "versioning": (Info, "files.I001"),
    "lifecycle": (Info, "files.I002"),
}
NEAR = {"", "localhost", "127.0.0.1", "::1"}


def bucket_keeps_promises(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Tell what `manage.py probe_bucket --quick` finds wrong."""
    storage = apps.get_model("files", "File")().storage
    if not storage.bucket_name:
        return []
    try:
        results = probe(storage, QUICK)
    except OSError as error:
        text = f"The bucket {storage.bucket_name} cannot be asked: {error.strerror or error}."
        return [Warning(text, id="files.W002")]
    return [_message(result) for result in results if result.kept is False]


def _message(result: Result) -> CheckMessage:
    kind, name = MESSAGES[result.promise.name]
    return kind(f"{result.promise.name} of the bucket: {result.told}.", id=name)


def database_is_verified(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Warn of a database on another machine that any machine between could pretend to be."""
    database = connection.settings_dict
    host, mode = database["HOST"], database["OPTIONS"].get("sslmode")
    if host in NEAR or host.startswith("/") or mode in {"verify-ca", "verify-full"}:
        return []
    text = (
        f"Nothing proves that {host} is the database: set APP_DB_SSLMODE=verify-full and"
        " APP_DB_SSLROOTCERT."
    )
    return [Warning(text, id="files.W007")]


def ids_are_left(
    app_configs: Any, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """Tell in time where the ids of a table that was taken over come to the end of their type."""
    text = (
        f"The ids of the table files are beyond {MANY_IDS:,}, and of the type int, which ends at"
        " 2,147,483,647: give them the type bigint as README.md says."
    )
    used_up = [alias for alias in databases or () if _are_used_up(connections[alias])]
    return [Warning(text, id="files.W008") for _ in used_up]


def _are_used_up(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if "files" not in connection.introspection.table_names(cursor):
            return False
        cursor.execute(
            "SELECT pg_typeof(max(id)) = 'int'::regtype AND max(id) > %s FROM files", [MANY_IDS]
        )
        return bool(cursor.fetchone()[0])
