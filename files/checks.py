"""What `manage.py check --deploy` finds out about the bucket."""

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name

from files.storage.probe import QUICK, Result, probe

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
