"""Servers as processes of their own: a port for one, its start, the wait for it, its end."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from project.sandbox.services import lifetime

Result = TypeVar("Result")


class ServicesError(Exception):
    """The services cannot be started: one sentence that says why and what to do."""


def package_folder(module: str) -> Path:
    """Return where a package lies, without importing it. Raises ServicesError."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ServicesError(
            f"The package {module} is not installed: `uv sync --group sandbox` installs it."
        )
    return Path(spec.origin).parent


def free_port() -> int:
    """Return a port that nothing listens on at present."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def run_program(command: Sequence[str | Path], **options: Any) -> None:
    """Run a program to its end. What interrupts that ends all that the program has started too.

    Raises CalledProcessError with the program's stderr.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )
    try:
        errors = process.communicate()[1]
    except BaseException:
        _kill_group(process)
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children, and wait until none of them writes any more."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with suppress(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.02)


def start_server(
    stack: ExitStack,
    command: Sequence[str | Path],
    end: signal.Signals,
    *,
    keep: bool = False,
    env: Mapping[str, str] = os.environ,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a server, which the signal ends when the stack is closed, unless it is to be kept."""
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    server = subprocess.Popen(
        command,
        start_new_session=True,  # Ctrl-C ends what uses the services first
        env=lifetime.owned(env),
        **{**silent, **options},
    )
    if keep:
        server.returncode = 0  # what is let go while it runs is warned of
    else:
        stack.callback(_stop, server, end)
    return server


def _stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    server.send_signal(how)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def patiently(action: Callable[[], Result], seconds: float = 60) -> Result:
    """Return what the action returns, which fails as long as a service is not up."""
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (psycopg.OperationalError, BotoCoreError, ClientError) as error:
            if time.monotonic() > end:
                raise ServicesError(f"The services do not answer: {error}.") from error
            time.sleep(0.05)
