"""Who may do what: one question for one file, and one answer for many.

A user who has come by a token may do what both allow.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db.models import Func, OuterRef, Q, QuerySet, TextField, Value
from django.utils.translation import gettext as _

from files.compiled import CompiledQuery
from files.keys import RESERVED, key_after
from files.tokens import Token, token_of

if TYPE_CHECKING:
    from files.models import File, FileQuerySet

Users = TypeVar("Users", bound=QuerySet)


def has_permission(user: Any, name: str) -> bool:
    """Return whether the user has the permission `name` for files, such as "view" or "purge"."""
    token = token_of(user)
    if token is not None and token.scope == Token.Scope.READ and name != "view":
        return False
    return _is_granted(user, name)


def _is_granted(user: Any, name: str) -> bool:
    return bool(user.has_perm(f"files.{name}_file"))


def is_within(user: Any, key: str) -> bool:
    """Return whether the key is in the folder that the user's token is for, if it is for one."""
    token = token_of(user)
    return token is None or key.startswith(token.prefix)


def may(user: Any, name: str, key: str) -> bool:
    """Return whether the user has the permission `name` for the file of this key."""
    return has_permission(user, name) and is_within(user, key)


def require(user: Any, name: str, *keys: str) -> None:
    """Raise PermissionDenied where the user may not do it with the files of these keys."""
    if not has_permission(user, name):
        raise PermissionDenied
    if not all(is_within(user, key) for key in keys):
        raise PermissionDenied(_("Your token is for the keys of one folder alone, not for this."))


def may_see_trash(user: Any) -> bool:
    """Return whether the user may do anything with what is in the trash, whatever token comes."""
    return _is_granted(user, "restore") or _is_granted(user, "purge")


def may_see_runs(user: Any) -> bool:
    """Return whether the user may see distributed runs, whose lines name files of any folder."""
    token = token_of(user)
    return bool(user.has_perm("files.view_run")) and not (token and token.prefix)


def may_read_any(user: Any) -> bool:
    """Return whether there may be content that the user may read.

    That asks for `view_file` itself: Django's admin lets those view a row who may change it.
    """
    return has_permission(user, "view")


def may_read(user: Any, file: "File") -> bool:
    """Return whether the user may read the content of the file."""
    return may(user, "view", file.name) and (file.deleted_at is None or may_see_trash(user))


def readable(user: Any, files: "FileQuerySet") -> "FileQuerySet":
    """Return those of the files whose content the user may read."""
    if not may_read_any(user):
        return files.none()
    if not may_see_trash(user):
        files = files.filter(deleted_at=None)
    token = token_of(user)
    return files.filter(within(token.prefix)) if token is not None and token.prefix else files


def within(prefix: str) -> Q:
    """Match the files below the prefix, and contents in the trash that have been there."""
    kept = Q(object_key__gte=RESERVED, object_key__lt=key_after(RESERVED))
    below = Q(object_key__gte=prefix, object_key__lt=key_after(prefix))
    return below | (kept & Q(original_key__startswith=prefix))


def trashed_below(files: "FileQuerySet", folder: str) -> "FileQuerySet":
    """Return those of the files that are in the trash, and have been below the folder."""
    return files.trashed().filter(within(folder)) if folder else files.trashed()


# One query for a user and all permissions, where Django's own backend asks twice more for these.


class Backend(ModelBackend):
    """Django's own backend, which gets the permissions of a session's user with the user."""

    def get_user(self, user_id: Any) -> Any:
        """Return the active user of this id, None where there is none."""
        user = keep_permissions(_by_id(user_id))
        return user if user is not None and self.user_can_authenticate(user) else None


def with_permissions(users: Users) -> Users:
    """Let the users bring their permissions, for `keep_permissions`."""
    return users.annotate(
        own_permissions=_permissions(user=OuterRef("pk")),
        group_permissions=_permissions(group__user=OuterRef("pk")),
    )


def _permissions(**of: Any) -> ArraySubquery:
    parts = "content_type__app_label", Value("."), "codename"
    name = Func(*parts, function="CONCAT", output_field=TextField())
    return ArraySubquery(Permission.objects.filter(**of).order_by().values_list(name))


def keep_permissions(user: Any) -> Any:
    """Let Django's backend take the permissions that the user has brought; return the user."""
    if user is not None and not user.is_superuser:  # who has those that nobody has given, too
        user._user_perm_cache = set(user.own_permissions)
        user._group_perm_cache = set(user.group_permissions)
    return user


def _users_by_id(user_id: int) -> QuerySet:
    return with_permissions(get_user_model()._default_manager.filter(pk=user_id))


_by_id = CompiledQuery(_users_by_id, -1)
