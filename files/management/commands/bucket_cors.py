"""`manage.py bucket_cors`: the rules by which browsers may send large files to the bucket."""

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.models import File
from files.storage import cors

ORIGIN = re.compile(r"https?://[^/\s]+")


class Command(BaseCommand):
    """Exits with 0 where each origin may send, and 1 where not."""

    help = (
        "Print the bucket's CORS rules, one a line, and see whether they let browsers send large"
        " files from the pages of the site. The exit status is 1 where they do not."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--set", action="store_true", help="add the rule that is missing, and keep the others"
        )
        parser.add_argument(
            "origins",
            nargs="*",
            metavar="ORIGIN",
            help="such as https://files.example.com; those that the settings name if there is none",
        )

    def handle(self, *, origins: list[str], **options: Any) -> None:
        storage, origins = File().storage, origins or cors.site_origins()
        _check(origins)
        try:
            rules = list(storage.cors_rules())
            barred = cors.barred(rules, origins)
            if barred and options["set"]:
                rules.append(cors.rule_for(barred))
                storage.set_cors_rules(rules)
        except OSError as error:
            raise CommandError(f"{error.strerror or error}.") from error
        for rule in rules:
            self.stdout.write(cors.as_text(rule))
        if barred and not options["set"]:
            rule = cors.as_text(cors.rule_for(barred))
            raise CommandError(
                f"Browsers may not send from {', '.join(barred)}: repeat this with --set, which"
                f" adds {rule}."
            )


def _check(origins: list[str]) -> None:
    """Raise CommandError where there is no origin, or one that no browser would send."""
    if not origins:
        raise CommandError(
            "No setting names the origin of the site: set APP_CSRF_TRUSTED_ORIGINS, or name it, as"
            " in `bucket_cors https://files.example.com`."
        )
    wrong = [origin for origin in origins if not ORIGIN.fullmatch(origin)]
    if wrong:
        raise CommandError(f"{wrong[0]!r} is no origin: write it as https://files.example.com.")
