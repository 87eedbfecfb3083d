"""What `manage.py check --deploy` finds out about the bucket, and `migrate` about the table."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.db import connections

from files.storage.probe import QUICK, Result, probe

MANY_IDS = 1_500_000_000  # of the 2,147,483,647 of an int

IDS = {"permissions": "files.E001", "CORS": "files.W001", "clock": "files.W003"}


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
    name, detail = result.promise.name, result.told
    kind = Error if result.is_broken else Warning
    return kind(f"{name} of the bucket: {detail}.", id=IDS[name])


def ids_are_left(
    app_configs: Any, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """Tell in time where the ids of a table that was taken over come to the end of their type."""
    text = (
        f"The ids of the table files are beyond {MANY_IDS:,}, and of the type int, which ends at"
        " 2,147,483,647: give them the type bigint as README.md says."
    )
    used_up = [alias for alias in databases or () if _are_used_up(connections[alias])]
    return [Warning(text, id="files.W004") for _ in used_up]


def _are_used_up(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if "files" not in connection.introspection.table_names(cursor):
            return False
        cursor.execute(
            "SELECT pg_typeof(max(id)) = 'int'::regtype AND max(id) > %s FROM files", [MANY_IDS]
        )
        return bool(cursor.fetchone()[0])
