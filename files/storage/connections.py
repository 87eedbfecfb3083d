"""Connections to S3 for requests that boto3 does not send: its limits, proxies and certificates."""

from typing import TYPE_CHECKING, Any

import urllib3
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from botocore.session import Session

CONNECT_TIMEOUT = 3  # seconds
READ_TIMEOUT = 15  # seconds without a byte
POOL = 64  # connections that are kept, at least as many as a server has threads


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
