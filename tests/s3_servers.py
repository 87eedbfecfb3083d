"""More S3 servers than those of the run; a test is skipped where their packages are not."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks import measure
from project.sandbox import services
from tests.processes import skip_unless

NOT_INSTALLED = "is not installed: uv run --group servers pytest"


@contextmanager
def moto() -> Iterator[dict[str, str]]:
    """Start moto's server; yield the environment that points at it for S3."""
    skip_unless(importlib.util.find_spec("moto"), f"moto {NOT_INSTALLED}")
    with ExitStack() as stack:
        port = services.free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environ = services.clean_environ()
        services.start_server(stack, command, signal.SIGKILL, env=environ)
        found = dict(os.environ) | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
        with closing(measure.s3_client(found)) as client:
            services.make_bucket(client, found["APP_BUCKET_NAME"])
        yield found


@contextmanager
def seaweedfs() -> Iterator[dict[str, str]]:
    """Start SeaweedFS; yield the environment that points at it for S3."""
    weed = Path(sys.executable).with_name("weed")
    skip_unless(weed.exists(), f"SeaweedFS {NOT_INSTALLED}")
    with measure.seaweedfs(dict(os.environ)) as environ:
        yield environ


SERVERS: dict[str, Callable[[], AbstractContextManager[dict[str, str]]]] = {
    "moto": moto,
    "SeaweedFS": seaweedfs,
}
