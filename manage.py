#!/usr/bin/env python
"""The project's command line."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run a management command; an error of the configuration is one sentence and status 1."""
    gc.disable()  # until the command is loaded: see CommandLine.fetch_command
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` lets SIGHUP be
            signal.signal(number, _end)
    if sys.argv[1:2] == ["sandbox"]:  # which needs nothing, and touches nothing that is configured
        for name in [name for name in os.environ if name.startswith("APP_")]:
            if not name.startswith("APP_TEST_"):  # the images of the services
                del os.environ[name]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.db import OperationalError

    from project.commandline import CommandLine

    try:
        CommandLine(sys.argv).execute()
    except ImproperlyConfigured as error:
        nothing = settings.configured and not settings.CONFIGURED
        sys.exit(f"{sys.argv[0]}: {settings.NOTHING_TO_WORK_ON if nothing else error}")
    except OperationalError as error:
        sys.exit(f"{sys.argv[0]}: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(130)


def _end(number: int, frame: object) -> None:
    """Let a command clean up, as Ctrl-C does."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
