"""The process's boto3 client, which does all that is asked of S3 but reading."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from django.core.exceptions import ImproperlyConfigured

from files.storage.circuit import circuit_of
from files.storage.connections import CONNECT_TIMEOUT, POOL, READ_TIMEOUT
from project import aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 3
CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    max_pool_connections=POOL,
)

_lock = threading.RLock()


def client(endpoint: str | None = None, region: str | None = None) -> "S3Client":
    """Return the process's boto3 client for this place. Raises ImproperlyConfigured."""
    with _lock:
        return _client(endpoint or None, region or None)


@cache
def _client(endpoint: str | None, region: str | None) -> "S3Client":
    with configuration_errors():
        found = aws.session().create_client(
            "s3", endpoint_url=endpoint, region_name=region, config=CONFIG
        )
        circuit_of(found)
        return cast("S3Client", found)


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Raise ImproperlyConfigured for what botocore finds wrong in its configuration."""
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise ImproperlyConfigured(f"S3 cannot be used: {error}") from error
