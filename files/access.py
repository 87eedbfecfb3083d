"""Who may do what: one question for one file, and one answer for many."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from files.models import File, FileQuerySet


def has_permission(user: Any, name: str) -> bool:
    """Return whether the user has the permission `name` for files, such as "view" or "purge"."""
    return bool(user.has_perm(f"files.{name}_file"))


def may_see_trash(user: Any) -> bool:
    """Return whether the user may do anything with what is in the trash."""
    return has_permission(user, "restore") or has_permission(user, "purge")


def may_read_any(user: Any) -> bool:
    """Return whether there may be content that the user may read.

    That asks for `view_file` itself: Django's admin lets those view a row who may change it.
    """
    return has_permission(user, "view")


def may_read(user: Any, file: "File") -> bool:
    """Return whether the user may read the content of the file."""
    return may_read_any(user) and (file.deleted_at is None or may_see_trash(user))


def readable(user: Any, files: "FileQuerySet") -> "FileQuerySet":
    """Return those of the files whose content the user may read."""
    if not may_read_any(user):
        return files.none()
    return files if may_see_trash(user) else files.filter(deleted_at=None)
