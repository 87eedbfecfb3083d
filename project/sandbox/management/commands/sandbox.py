"""`manage.py sandbox`: any command of the project, on throw-away services."""

import argparse
import os
import secrets
import signal
import subprocess
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.sandbox import services

EPILOG = """
examples:
  manage.py sandbox                 serve the admin; Ctrl-C ends it
  manage.py sandbox read_file 1     print the first sample file
  manage.py sandbox --services=containers dbshell
  manage.py sandbox --stop          end what `pytest --reuse-services` keeps
"""


class Command(BaseCommand):
    """Runs a command as a process of its own, in the environment that the services yield."""

    help = (
        "Run COMMAND on throw-away services with sample files: needs no database, no bucket and no"
        " AWS account, and leaves nothing behind. Without COMMAND, serve the admin."
    )
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--services",
            choices=services.THROW_AWAY,
            default="auto",
            help="containers need Docker, embedded ones nothing, radosgw its packages of Debian;"
            " auto takes containers where they work, and otherwise embedded ones",
        )
        parser.add_argument(
            "--stop",
            action="store_true",
            help="end the services that `pytest --reuse-services` keeps, and run nothing",
        )
        parser.add_argument("--port", type=int, default=8000, help="where the admin is served")
        parser.add_argument(
            "command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="and its arguments"
        )

    def handle(self, *, command: list[str], port: int, stop: bool, **options: Any) -> None:
        try:
            if stop:
                found = services.stop_kept()
                self._say("the kept services have ended" if found else "no services are kept")
                return
            with services.running(options["services"], self._say) as environ:
                status = self._run(command, port, environ)
        except services.ServicesError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        sys.exit(status)

    def _say(self, line: str) -> None:
        self.stderr.write(f"sandbox: {line}")

    def _run(self, command: list[str], port: int, environ: dict[str, str]) -> int:
        manage = [sys.executable, os.path.abspath(sys.argv[0])]
        preparation = [([*manage, "load_samples", "--migrate"], environ)]
        password = secrets.token_urlsafe(9)
        if not command:
            superuser = ["createsuperuser", "--noinput", "--username=admin"]
            preparation.append(
                (
                    [*manage, *superuser, "--email=admin@example.com"],
                    environ | {"DJANGO_SUPERUSER_PASSWORD": password},
                )
            )
        for step, variables in preparation:
            if status := _call(step, variables, stdout=subprocess.DEVNULL):
                return status
        if not command:
            self.stdout.write(f"http://localhost:{port}/admin/  login: admin  password: {password}")
            self.stdout.flush()
            command = ["runserver", "--noreload", f"localhost:{port}"]
        return _call([*manage, *command], environ)


def _call(command: list[str], environ: dict[str, str], **options: Any) -> int:
    """Run the command; return its status as a shell would.

    A signal that ends this process ends the command first.
    """
    process = subprocess.Popen(command, env=environ, **options)
    try:
        status = process.wait()
    except BaseException as reason:
        try:
            if isinstance(reason, KeyboardInterrupt):
                process.wait(1)  # a terminal's Ctrl-C reached it too
        except subprocess.TimeoutExpired:
            pass
        process.terminate()
        process.wait()
        raise
    return 128 - status if status < 0 else status
