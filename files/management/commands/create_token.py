"""`manage.py create_token`: a token for a program."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.errors import reason
from files.management.running import migrated
from files.models import Token
from files.tokens import expiry, usual_days


class Command(BaseCommand):
    """Prints the token to stdout and nothing else: it is kept nowhere."""

    help = (
        "Make a token by which a program does what the user may, and print it, once: nobody can"
        " read it again. Send it as `Authorization: Bearer TOKEN`."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "user", help="the name of its user, which may be one without a password"
        )
        parser.add_argument("--name", default="", help="what it is for, as lists of tokens show it")
        parser.add_argument(
            "--scope",
            choices=Token.Scope.values,
            default=Token.Scope.READ,
            help="whether it reads, or also writes; default: read",
        )
        parser.add_argument(
            "--prefix", default="", help="the folder that it is for, such as reports/; default: all"
        )
        parser.add_argument(
            "--days", type=int, help="for how many days it is good; default: 90, or APP_TOKEN_DAYS"
        )

    def handle(
        self, *, user: str, name: str, scope: str, prefix: str, days: int | None, **options: Any
    ) -> None:
        with migrated():
            owner = _find_user(user)
            try:
                expires_at = expiry(usual_days() if days is None else days)
                token, text = Token.objects.issue(
                    owner, name=name, scope=scope, prefix=prefix, expires_at=expires_at
                )
            except ValidationError as error:
                raise CommandError(reason(error)) from error
        self.stderr.write(
            f"Token {token.pk} of {user} is good until {expires_at:%Y-%m-%d %H:%M} UTC."
        )
        self.stdout.write(text)


def _find_user(name: str) -> Any:
    model = get_user_model()
    try:
        user: Any = model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(
            f"There is no user {name!r}: make one in the admin, without a password for a program."
        ) from None
    if not user.is_active:
        raise CommandError(f"The user {name!r} is switched off, so that no token of it is good.")
    return user
