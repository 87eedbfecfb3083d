"""`manage.py revoke_token`: ends a token at once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.management.running import migrated
from files.models import Token
from files.tokens import BEGINNING, digest


class Command(BaseCommand):
    """Ends it for the next request: each one asks for its token."""

    help = "End tokens at once, and with each those that were made by it."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "tokens",
            nargs="+",
            metavar="token",
            help="the id, as list_tokens prints it, or the token itself, such as one that was found"
            " where it should not be",
        )

    def handle(self, *, tokens: list[str], **options: Any) -> None:
        with migrated():
            found = [self._find(text) for text in tokens]  # all, before one of them ends
            for token in found:
                text = f"Revoked token {token.pk} ({token.name or 'no name'}) of {token.user}."
                token.delete()
                self.stdout.write(text)

    def _find(self, text: str) -> Token:
        shown, values = text, {"pk": text}
        if text.startswith(BEGINNING):
            shown, values = f"{text[:10]}...", {"digest": digest(text)}
        elif not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise CommandError(f"{text!r} is no token: name its id, as list_tokens prints it.")
        token = Token.objects.select_related("user").filter(**values).first()
        if token is None:
            raise CommandError(f"There is no token {shown}: `manage.py list_tokens` prints all.")
        return token
