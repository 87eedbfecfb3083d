"""nginx by the configuration that is shipped, at other addresses."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from project.sandbox import services
from tests.processes import ROOT, skip_unless, wait_for

MODULE = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")

Change = tuple[str, str]
Front = tuple[Path, str]


def configure(folder: Path, upstream: str, port: int, *changes: Change) -> list[str]:
    """Write the configuration into the folder, where its logs will be, and return the command."""
    places = (
        ("/tmp/", f"{folder}/"),  # noqa: S108 - what is shipped
        ("server web:8000;", f"server {upstream};"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("error_log stderr warn;", f"error_log {folder}/error.log warn;"),
        ("access_log /dev/stdout files;", f"access_log {folder}/access.log files;"),
    )
    shutil.copytree(ROOT / "nginx", folder, dirs_exist_ok=True)
    for name, replacements in (("nginx.conf", places), ("files.conf", changes)):
        text = (folder / name).read_text("utf-8")
        for there, here in replacements:
            assert there in text, there
            text = text.replace(there, here)
        (folder / name).write_text(text, "utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    options = ["-p", f"{folder}/", "-c", f"{folder}/nginx.conf", "-g", f"daemon off; {user}"]
    return ["nginx", "-e", "stderr", *options]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """Return what starts nginx before a server, with changes of files.conf, once for a module.

    It returns the folder with the logs, and the address.
    """
    is_there = shutil.which("nginx") and MODULE.exists()
    skip_unless(is_there, "nginx is not installed (Debian: nginx-light libnginx-mod-http-js)")
    with ExitStack() as stack:

        @cache
        def front(url: str, *changes: Change) -> Front:
            folder, port = tmp_path_factory.mktemp("nginx"), services.free_port()
            command = configure(folder, url.removeprefix("http://"), port, *changes)
            services.start_server(stack, command, signal.SIGTERM)
            wait_for(port)
            return folder, f"http://127.0.0.1:{port}"

        yield front


@pytest.fixture
def nginx_with_logs(serve: Callable[..., str], front: Callable[..., Front]) -> Callable[..., Front]:
    """Start nginx in front of the server: `folder, url = nginx_with_logs()`."""
    return lambda **environ: front(serve(**{"APP_DELIVERY": "accel"} | environ))


@pytest.fixture
def nginx(nginx_with_logs: Callable[..., Front]) -> Callable[..., str]:
    """Start nginx in front of the server: `url = nginx(APP_DELIVERY="stream")`."""
    return lambda **environ: nginx_with_logs(**environ)[1]
