"""Django's command line, as manage.py runs it."""

import gc
import importlib.util
import sys

from django.apps import apps
from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand

SANDBOX = "project.sandbox"


class CommandLine(ManagementUtility):
    """Starts without the garbage collector where manage.py has switched it off."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """Load a command; from then on collect, but nothing of what the start has made.

        None of that is garbage, and looking at it takes a third of a short command's time.
        """
        if subcommand in ("load_samples", "sandbox", "test") and apps.ready:
            _check_sandbox(self.prog_name, subcommand)
        command = super().fetch_command(subcommand)
        gc.freeze()
        gc.enable()
        return command


def _check_sandbox(program: str, command: str) -> None:
    """Exit with one sentence where the sandbox is not installed, as in production."""
    if importlib.util.find_spec(SANDBOX) is None:
        sys.exit(
            f"{program}: {command} is not there: project/sandbox is left out here;"
            " run it where the whole project is."
        )
    if not apps.is_installed(SANDBOX):
        sys.exit(
            f"{program}: {command} is not part of production: set APP_DEBUG=true, or run"
            f" `{program} sandbox` for throw-away services."
        )
