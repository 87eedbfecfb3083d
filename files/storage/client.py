"""The process's boto3 client, which does all that is asked of S3 but reading."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies
from django.core.exceptions import ImproperlyConfigured

from files.storage.circuit import circuit_of
from project import aws

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT = 3  # seconds
READ_TIMEOUT = 15  # seconds without a byte
ATTEMPTS = 3
POOL = 64  # connections that are kept, at least as many as a server has threads
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


def connections(session: "Session", origin: str) -> urllib3.HTTPConnectionPool:
    """Return connections for signed requests, by the proxies and certificates of boto3."""
    options: dict[str, Any] = {
        "maxsize": POOL,
        "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        "ca_certs": get_cert_path(session.get_config_variable("ca_bundle") or True),
        "cert_reqs": "CERT_REQUIRED",
    }
    scheme = origin.partition("://")[0]
    proxy = get_environ_proxies(origin).get(scheme)
    manager = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    return manager.connection_from_url(origin)
