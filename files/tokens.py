"""The table of tokens, by which programs come: the bearer tokens of RFC 6750."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files.keys import is_folder, validate_new_key

# What scanners of secrets know a token by, and 160 random bits behind it.
BEGINNING = "files_"
FORM = rf"{BEGINNING}[0-9a-f]{{40}}"

USUAL_DAYS = 90  # that a token lasts where nobody says more
MOST_MADE = 1000  # by one token, and good at the same time: all of them end with it


def validate_prefix(prefix: str) -> None:
    """Raise ValidationError for a prefix that is no folder's: `a` would be one of `ab/` too."""
    if prefix:
        validate_new_key(prefix)
    if not is_folder(prefix):
        raise ValidationError(_("A prefix must end in a slash, as the keys of a folder begin."))


def usual_days() -> int:
    """Return for how many days a token lasts where nobody says more."""
    return min(USUAL_DAYS, int(settings.TOKEN_DAYS))


def expiry(days: int) -> datetime:
    """Return when a token of so many days ends. Raises ValidationError for too many."""
    if not 1 <= days <= settings.TOKEN_DAYS:
        text = gettext("A token lasts from 1 to %s days.") % settings.TOKEN_DAYS
        raise ValidationError({"days": text})
    return timezone.now() + timedelta(days=days)


class TokenQuerySet(models.QuerySet["Token"]):
    """Tokens, of everybody."""

    def issue(self, user: Any, **values: Any) -> tuple["Token", str]:
        """Make a token of the user and return it with its text, which is kept nowhere.

        Raises ValidationError.
        """
        text = BEGINNING + secrets.token_hex(20)
        token = self.model(user=user, digest=digest(text), **values)
        token.full_clean()
        token.save(force_insert=True)
        return token, text

    def delete(self) -> tuple[int, dict[str, int]]:
        """Revoke them, and with each those that were made by it."""
        with transaction.atomic():
            _lock(self.values_list("pk", flat=True))
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


def _lock(ids: Iterable[int]) -> None:
    """Let these tokens make no others meanwhile, which would keep them from being deleted."""
    list(Token.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update())


def digest(text: str) -> str:
    """Return what the table keeps of a token: as random as it is, it needs no salt."""
    return hashlib.sha256(text.encode()).hexdigest()


class Token(models.Model):
    """What a program shows in place of a login: it may do what its user may, and no more than this.

    It ends with its user, and with the token that it was made by.
    """

    class Scope(models.TextChoices):
        """What it is for."""

        READ = "read", _("read")
        WRITE = "write", _("read and write")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_constraint=False,  # to add one would lock the table of the users
        related_name="file_tokens",
        verbose_name=_("user"),
    )
    name = models.CharField(_("name"), max_length=200, blank=True, help_text=_("What it is for."))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(_("scope"), max_length=8, choices=Scope, default=Scope.READ)
    prefix = models.TextField(
        _("prefix"),
        blank=True,
        default="",
        db_collation="C",
        validators=[validate_prefix],
        help_text=_("The folder that it is for, such as “reports/”; all where empty."),
    )
    parent = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("made by"),
    )
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires"))
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    objects = TokenQuerySet.as_manager()

    class Meta:
        db_table = "files_token"
        default_permissions = ()
        ordering = ["-pk"]
        verbose_name = _("token")
        verbose_name_plural = _("tokens")

    def __str__(self) -> str:
        return self.name or gettext("token %s") % self.pk

    def delete(self, *arguments: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Revoke it, and those that were made by it."""
        with transaction.atomic():
            _lock([self.pk])
            return super().delete(*arguments, **options)

    def clean(self) -> None:
        """Refuse a life that is longer than the settings allow, and more than the parent may do."""
        if self.expires_at and self.expires_at > expiry(settings.TOKEN_DAYS):
            raise ValidationError(gettext("A token lasts from 1 to %s days.") % settings.TOKEN_DAYS)
        if self.parent is not None:
            self._require(self.parent)

    def _require(self, parent: "Token") -> None:
        """Refuse what the parent may not make: no others than what can be revoked at once."""
        if parent.parent_id is not None:
            raise ValidationError(gettext("A token that another one has made makes none itself."))
        if not parent.covers(self):
            text = gettext("A token makes none that may do more, elsewhere, or for longer than it.")
            raise ValidationError(text)
        made = type(self).objects.filter(parent=parent, expires_at__gt=Now())
        if made.count() >= MOST_MADE:
            text = gettext("A token makes no more than %s that are good: revoke some.") % MOST_MADE
            raise ValidationError(text)

    def covers(self, other: "Token") -> bool:
        """Return whether the other may do no more than this one, and ends no later."""
        writes = self.scope == self.Scope.WRITE or other.scope == self.Scope.READ
        within = other.prefix.startswith(self.prefix)
        return writes and within and other.expires_at <= self.expires_at

    def note_use(self) -> None:
        """Note the hour in which it was used, once in each."""
        now = timezone.now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self.last_used_at is None or self.last_used_at < hour:
            type(self).objects.filter(pk=self.pk).update(last_used_at=hour)
            self.last_used_at = hour


def token_of(user: Any) -> Token | None:
    """Return the token by which the user has come, None for a session."""
    return getattr(user, "token", None)
