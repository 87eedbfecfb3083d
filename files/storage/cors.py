"""CORS: by which rules of the bucket a browser may send it the parts of large files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from django.conf import settings

from files.storage.uploads import CHECKSUM

Rule = Mapping[str, Sequence[str]]

WRITES = {"DELETE", "POST", "PUT"}
NOBODYS = "https://nobody.invalid"  # RFC 2606 section 2: no site has such a name


def site_origins() -> list[str]:
    """Return the origins that the admin is served from, as far as the settings name them."""
    hosts = [host for host in settings.ALLOWED_HOSTS if not host.startswith(("*", "."))]
    return list(settings.CSRF_TRUSTED_ORIGINS) or [f"https://{host}" for host in hosts]


def barred(rules: Iterable[Rule], origins: Iterable[str]) -> list[str]:
    """Return the origins from which these rules let no part be sent."""
    return [origin for origin in origins if not any(_allows(rule, origin) for rule in rules)]


def rule_for(origins: Sequence[str]) -> dict[str, list[str]]:
    """Return the rule that lets these origins send parts, and no more."""
    return {
        "AllowedMethods": ["PUT"],
        "AllowedOrigins": list(origins),
        "AllowedHeaders": [CHECKSUM],
    }


def is_open(rule: Rule) -> bool:
    """Return whether the rule lets the pages of any site write."""
    return not WRITES.isdisjoint(rule["AllowedMethods"]) and _names(rule, NOBODYS)


def as_text(rule: Rule) -> str:
    """Return the rule on one line, as AWS's console and command line take it."""
    return json.dumps(rule)


def _allows(rule: Rule, origin: str) -> bool:
    """Return whether S3 lets the origin PUT with a checksum by this rule."""
    return (
        "PUT" in rule["AllowedMethods"]
        and _names(rule, origin)
        and any(fnmatchcase(CHECKSUM, name.lower()) for name in rule.get("AllowedHeaders", ()))
    )


def _names(rule: Rule, origin: str) -> bool:
    """Return whether the rule is for this origin; `*` is any text."""
    return any(fnmatchcase(origin, allowed) for allowed in rule["AllowedOrigins"])
