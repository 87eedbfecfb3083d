"""What no process may write, wherever it writes: the secrets of this run."""

import json
import os
import re

_known: set[str] = set()  # such as the sessions that tests have begun

# Whatever their value is. What the log has made harmless is followed by dots.
_PATTERN = re.compile(r"(X-Amz-Signature|sessionid|csrftoken|csrfmiddlewaretoken)=[\w%]")


def add(secret: str) -> None:
    """Let nobody write this from now on."""
    _known.add(secret)


def check(*texts: str) -> None:
    """Fail where a secret stands in one of the texts, plain or as JSON or Python write it."""
    found = set()
    for text in texts:
        found |= {match[1] for match in _PATTERN.finditer(text)}
        found |= {name for name, value in _secrets() if value in text}
    assert not found, f"A process has written {', '.join(sorted(found))}."


def _secrets() -> list[tuple[str, str]]:
    from django.conf import settings

    named = {
        "the secret key": os.environ.get("APP_SECRET_KEY", ""),
        "the secret of AWS": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        "the password of the database": str(settings.DATABASES["default"].get("PASSWORD", "")),
    }
    pairs = [*named.items(), *(("a secret of a test", value) for value in _known)]
    return [
        (name, form)
        for name, value in pairs
        if value not in ("", "sandbox")  # the word, which LocalStack takes for a secret
        for form in {value, json.dumps(value)[1:-1], repr(value)[1:-1]}
    ]
