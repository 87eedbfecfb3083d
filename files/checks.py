"""What `manage.py check --deploy` finds out about the bucket."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's own name

from files.storage import CHECKSUM

Rule = dict[str, Sequence[str]]


def bucket_takes_uploads(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Warn when the bucket's CORS rules keep a browser from sending the parts of a large file."""
    storage = apps.get_model("files", "File")().storage
    if not storage.bucket_name:
        return []
    try:
        rules = storage.cors_rules()
    except OSError as error:
        text = f"The CORS rules of the bucket cannot be read: {error.strerror or error}."
        hint = "Allow s3:GetBucketCORS on the bucket to the role of this process."
        return [Warning(text, hint, id="files.W002")]
    barred = [origin for origin in _origins() if not any(_allows(rule, origin) for rule in rules)]
    if not barred:
        return []
    text = f"Browsers cannot upload large files from {', '.join(barred)}: CORS of the bucket."
    return [Warning(text, f"Add this rule to the bucket: {_rule(barred)}", id="files.W001")]


def _origins() -> list[str]:
    """Return the origins that the admin is served from, as far as the settings name them."""
    hosts = [host for host in settings.ALLOWED_HOSTS if not host.startswith(("*", "."))]
    return list(settings.CSRF_TRUSTED_ORIGINS) or [f"https://{host}" for host in hosts]


def _allows(rule: Rule, origin: str) -> bool:
    """Return whether S3 lets the origin PUT with a checksum by this rule; `*` is any text."""
    return (
        "PUT" in rule["AllowedMethods"]
        and any(fnmatchcase(origin, allowed) for allowed in rule["AllowedOrigins"])
        and any(fnmatchcase(CHECKSUM, name.lower()) for name in rule.get("AllowedHeaders", ()))
    )


def _rule(origins: list[str]) -> str:
    rule = {"AllowedMethods": ["PUT"], "AllowedOrigins": origins, "AllowedHeaders": [CHECKSUM]}
    return json.dumps(rule)
