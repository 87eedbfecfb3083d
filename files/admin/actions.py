"""What is done with several files: a zip, moves, the trash, deletion."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from files.admin.changes import FileChanges
from files.admin.forms import MoveForm, typeable
from files.delivery import archive
from files.keys import folder_name, name_of, visible
from files.models import File


@admin.action(description=_("Download as a zip"), permissions=["download"])
def download(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase:
    """Answer with the contents, named from the folder shown."""
    folder = request.GET.get("folder", "")
    name = f"{folder_name(folder) or 'files'}.zip"
    return archive.respond(request, queryset.iterator(), base=folder, name=name)


@admin.action(description=_("Move to another folder"), permissions=["move"])
def move(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase | None:
    """Ask for the folder, then rename."""
    form = MoveForm(
        request.POST if "folder" in request.POST else None,
        initial={"folder": typeable(request.GET.get("folder", ""))},
    )
    if form.is_valid():
        folder = form.cleaned_data["folder"]
        _each(model_admin, request, queryset, lambda file: _move(file, folder), _moved)
        return None
    context = model_admin.admin_site.each_context(request) | {
        "title": _("Move to another folder"),
        "opts": model_admin.opts,
        "files": [(file.pk, visible(str(file))) for file in queryset],
        "form": form,
    }
    return TemplateResponse(request, "admin/files/file/move.html", context)


@admin.action(description=_("Move to trash"), permissions=["trash"])
def trash(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Put each into the trash."""
    _each(model_admin, request, queryset, File.trash, _trashed)


@admin.action(description=_("Restore"), permissions=["restore"])
def restore(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Take each out of the trash."""
    _each(model_admin, request, queryset, File.restore, _restored)


def delete_each(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> tuple[Exception, File] | None:
    """Delete for good what S3 deletes; report the others, and return the last of them."""
    failed: list[tuple[Exception, File]] = []
    for file in queryset:
        try:
            model_admin.delete_file(request, file)
        except (OSError, IntegrityError) as error:
            failed.append((error, file))
    for reported, file in failed[:-1]:
        model_admin.report(request, reported, file)
    return failed[-1] if failed else None


def _each(
    model_admin: FileChanges,
    request: HttpRequest,
    files: QuerySet[File],
    change: Callable[[File], Any],
    summary: Callable[[int], str],
) -> None:
    """Change each file, and report those that cannot be changed."""
    count = 0
    for file in files:
        try:
            change(file)
        except ValidationError as error:
            text = f"“{visible(str(file))}”: {error.messages[0]}"
            model_admin.message_user(request, text, messages.ERROR)
        except OSError as error:
            model_admin.report(request, error, file)
        else:
            model_admin.log_change(request, file, summary(1))
            count += 1
    if count:
        model_admin.message_user(request, summary(count), messages.SUCCESS)


def _move(file: File, folder: str) -> None:
    file.rename(folder + name_of(str(file)))


def _moved(count: int) -> str:
    return ngettext("Moved %d file.", "Moved %d files.", count) % count


def _trashed(count: int) -> str:
    return ngettext("Moved %d file to the trash.", "Moved %d files to the trash.", count) % count


def _restored(count: int) -> str:
    return ngettext("Restored %d file.", "Restored %d files.", count) % count
