"""Who may do what in the admin: Django's hooks, and one for each action."""

from typing import cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from files import access
from files.admin.filters import is_trash
from files.models import File, FileQuerySet, Work


class FilePermissions(admin.ModelAdmin):
    """Shows the files that the user may read, and allows what a permission names.

    Actions are for the list that they are offered on: that of the live files, or the trash.
    """

    def get_queryset(self, request: HttpRequest) -> QuerySet[File]:
        files = cast("FileQuerySet", super().get_queryset(request))
        return access.readable(request.user, files)

    def has_view_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Ask for `view_file`, where Django takes the permission to change for it."""
        if obj is None:
            return access.may_read_any(request.user)
        return access.may_read(request.user, obj)

    def has_change_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Refuse: the form changes nothing. `rename` changes keys, `replace` contents."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Refuse Django's own pages. `trash` is for live files, `purge` for those in the trash."""
        return False

    def has_purge_permission(self, request: HttpRequest) -> bool:
        return access.has_permission(request.user, "purge") and is_trash(request)

    def has_download_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and not is_trash(request)

    def has_move_permission(self, request: HttpRequest) -> bool:
        return access.has_permission(request.user, "change") and not is_trash(request)

    def has_trash_permission(self, request: HttpRequest) -> bool:
        return access.has_permission(request.user, "delete") and not is_trash(request)

    def has_undo_permission(self, request: HttpRequest, work: Work) -> bool:
        """Ask for what brings each file back: one that had another key is renamed."""
        needed = {"change" if before else "restore" for _, before, *_ in work.undo}
        return all(access.has_permission(request.user, name) for name in needed)

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return access.has_permission(request.user, "restore") and is_trash(request)
