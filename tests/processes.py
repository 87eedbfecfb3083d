"""Processes as people and servers start them: manage.py, signals, the wait for a port."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tests import leaks

ROOT = Path(__file__).parent.parent


def manage(
    *arguments: str, environ: dict[str, str | None] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run manage.py as a process, in this environment with changes; None takes a variable out.

    What it writes is looked through for secrets.
    """
    merged = os.environ | (environ or {})
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )
    leaks.check(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done


def run_command(name: str, *arguments: str) -> tuple[list[str], str, int]:
    """Run a command in this process; return the lines of stdout, what stderr has, and the status.

    Raises CommandError.
    """
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    try:
        call_command(name, *arguments, stdout=stdout, stderr=stderr)
    except SystemExit as error:
        status = int(error.code or 0)
    return stdout.getvalue().splitlines(), stderr.getvalue(), status


def heed_signals() -> None:
    """Take signals as on a terminal, as the `preexec_fn` of a process that a test sends one.

    `nohup` and a shell that runs something in the background let it ignore some.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def skip_unless(is_there: object, text: str) -> None:
    """Skip the test where something is not installed; fail in CI, which installs all of it."""
    if not is_there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)


def wait_for(port: int) -> None:
    """Return when something listens on the port."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
