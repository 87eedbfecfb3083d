"""Responses of Django's test client."""

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
