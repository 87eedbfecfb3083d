"""Responses: of Django's test client, and those that say why not, of any client."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.signals import request_finished
from django.db import close_old_connections


@contextmanager
def closing(response: Any) -> Iterator[Any]:
    """Close a response whose body nobody reads, but not the database connection of the test."""
    try:
        yield response
    finally:
        request_finished.disconnect(close_old_connections)
        response.close()
        request_finished.connect(close_old_connections)


def told(answer: Any) -> str:
    """Return the sentence of a problem document that Django's test client or urllib3 has got."""
    document = answer.json()
    status = getattr(answer, "status_code", None) or answer.status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document["status"] == status
    assert document["type"].startswith("urn:problem-type:files:")
    assert set(document) >= {"type", "title", "status", "detail"}
    return str(document["detail"])
