"""`manage.py list_tokens`: the tokens that there are."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from files.management.running import migrated
from files.models import Token

COLUMNS = "id", "user", "scope", "prefix", "expires", "last used", "name"


class Command(BaseCommand):
    """Prints a line for each, and never the token itself, which is kept nowhere."""

    help = (
        "Print the tokens, the latest first: a line of columns with tabs between for each, or JSON."
        " Those that have expired are among them, until they are revoked."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", help="those of this user alone; default: of all")
        parser.add_argument(
            "--json", action="store_true", help="print an object of JSON on each line"
        )

    def handle(self, *, user: str | None, json: bool, **options: Any) -> None:
        tokens = Token.objects.select_related("user")
        if user is not None:
            tokens = tokens.filter(user__username=user)
        with migrated():
            rows = [_row(token) for token in tokens]
        if not json and rows:
            self.stdout.write("\t".join(COLUMNS))
        for row in rows:
            self.stdout.write(_json(row) if json else _line(row))


def _row(token: Token) -> dict[str, Any]:
    values = (
        token.pk,
        token.user.get_username(),
        token.scope,
        token.prefix,
        token.expires_at,
        token.last_used_at,
        token.name,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _line(row: dict[str, Any]) -> str:
    is_over = row["expires"] <= timezone.now()
    shown = row | {
        "expires": f"{row['expires']:%Y-%m-%d}{' (over)' if is_over else ''}",
        "last used": f"{row['last used']:%Y-%m-%d %H:00}" if row["last used"] else "never",
    }
    return "\t".join(" ".join(str(value).split()) or "-" for value in shown.values())


def _json(row: dict[str, Any]) -> str:
    found = {name.replace(" ", "_"): value for name, value in row.items()}
    return json.dumps(found, default=lambda moment: moment.isoformat())
