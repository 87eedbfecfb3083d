"""`manage.py probe_bucket`: which of the project's promises the S3 at hand keeps."""

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.models import File
from files.storage.probe import PROMISES, QUICK, Result, probe

CANNOT_BE_ASKED = 2  # the exit status
WIDTH = max(map(len, PROMISES)) + 2


class Command(BaseCommand):
    """Exits with 0 where all that is needed is kept, 1 where not, 2 where nothing can be asked."""

    help = (
        "Ask the bucket which of the project's promises its S3 keeps: exact keys, conditional"
        " writes, ranges, permissions and more. A line that begins with FAILS names a promise that"
        " the project needs, with note one that it can do without, with - one that cannot be asked"
        " for. It takes seconds. What it writes below .files/ is deleted again. The exit status is"
        " 0 where all that is needed is kept, 1 where not, and 2 where the bucket cannot be asked."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--quick", action="store_true", help=f"ask only for {', '.join(QUICK)}: a few requests"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, quick: bool, **options: Any) -> None:
        storage, start = File().storage, time.monotonic()
        say = (lambda result: None) if options["json"] else self._print
        try:
            results = probe(storage, QUICK if quick else None, say)
        except OSError as error:
            text = f"The bucket {storage.bucket_name} cannot be asked: {error.strerror or error}."
            raise CommandError(text, returncode=CANNOT_BE_ASKED) from error
        if options["json"]:
            found = {
                "bucket": storage.bucket_name,
                "endpoint": storage.client.meta.endpoint_url,
                "seconds": round(time.monotonic() - start, 1),
                "promises": _as_objects(results),
            }
            self.stdout.write(json.dumps(found, indent=2))
        broken = [result.promise.name for result in results if result.is_broken]
        if broken:
            raise CommandError(f"This S3 breaks what the project needs: {', '.join(broken)}.")

    def _print(self, result: Result) -> None:
        self.stdout.write(f"{_sign(result):5} {result.promise.name:{WIDTH}}{result.told}")


def _sign(result: Result) -> str:
    if result.kept is None:
        return "-"
    if result.kept:
        return "ok"
    return "FAILS" if result.is_broken else "note"


def _as_objects(results: list[Result]) -> dict[str, dict[str, Any]]:
    return {
        result.promise.name: {
            "kept": result.kept,
            "needed": result.promise.is_needed,
            "detail": result.detail,
        }
        for result in results
    }
