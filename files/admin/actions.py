"""What is done with several files: a zip, moves, the trash, deletion."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.messages import WARNING
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from files import changes
from files.admin.changes import DELETE, RESTORE, FileChanges, failure, log_error
from files.admin.filters import is_trash
from files.admin.forms import ConfirmForm, MoveForm, is_typeable
from files.admin.places import trail
from files.delivery import archive
from files.errors import EXPECTED
from files.keys import folder_name, name_of, visible
from files.models import File, Work
from files.storage import S3UnavailableError

MOVE = _("Move to another folder")
TRASH = _("Move to trash")
ALL_FOR_GOOD = _("These files and their contents are deleted permanently. This cannot be undone.")


@admin.action(description=_("Download as a zip"), permissions=["download"])
def download(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase:
    """Answer with the contents, named from the folder shown."""
    folder = request.GET.get("folder", "")
    name = f"{folder_name(folder) or 'files'}.zip"
    return archive.respond(request, queryset.iterator(), base=folder, name=name)


@admin.action(description=MOVE, permissions=["move"])
def move(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase | None:
    """Ask for the folder, then rename."""
    folder = request.GET.get("folder", "")
    form = MoveForm(
        request.POST if "folder" in request.POST else None,
        initial={"folder": folder if is_typeable(folder) else ""},
    )
    if form.is_valid():
        folder = form.cleaned_data["folder"]
        change = partial(_move, folder=folder)
        _change_each(model_admin, request, queryset, change, MOVE, _moved)
        return None
    return _form(model_admin, request, queryset, "move", MOVE, form=form)


@admin.action(description=TRASH, permissions=["trash"])
def trash(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Put each into the trash."""
    _change_each(model_admin, request, queryset, File.trash, TRASH, _trashed)


@admin.action(description=RESTORE, permissions=["restore"])
def restore(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Take each out of the trash."""
    _change_each(model_admin, request, queryset, File.restore, RESTORE, _restored)


@admin.action(description=DELETE, permissions=["purge"])
def delete(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase | None:
    """Ask whether it is meant, then delete for good what S3 and the database let go."""
    if "confirmed" in request.POST:
        change = partial(changes.delete, request.user)
        _each(model_admin, request, queryset, change, DELETE, _deleted)
        return None
    form = ConfirmForm(initial={"confirmed": True})
    return _form(model_admin, request, queryset, "delete", DELETE, form=form, warning=ALL_FOR_GOOD)


def _form(
    model_admin: FileChanges,
    request: HttpRequest,
    files: QuerySet[File],
    action: str,
    title: Any,
    **context: Any,
) -> HttpResponseBase:
    """Show the form of an action, which sends the same files again."""
    step = (gettext("Trash"), request.get_full_path()) if is_trash(request) else None
    steps = [step, (title, "")] if step else [(title, "")]
    context |= model_admin.admin_site.each_context(request) | {
        "title": title,
        "opts": model_admin.opts,
        "trail": trail(request.GET.get("folder", ""), *steps),
        "files": [(file.pk, visible(file.name)) for file in files],
        "action": action,
    }
    return TemplateResponse(request, "admin/files/file/form.html", context)


def _change_each(
    model_admin: FileChanges,
    request: HttpRequest,
    files: QuerySet[File],
    change: Callable[[File], Any],
    title: Any,
    summary: Callable[[int], str],
) -> None:
    """Change each file, and note it in its history. Raises AnsweredError where it takes long."""

    def change_one(file: File) -> None:
        change(file)
        changes.note(request.user, file, summary(1))

    _each(model_admin, request, files, change_one, title, summary)


def _each(
    model_admin: FileChanges,
    request: HttpRequest,
    queryset: QuerySet[File],
    change: Callable[[File], Any],
    title: Any,
    summary: Callable[[int], str],
) -> None:
    """Change each file as work, and tell of those that cannot be changed. Raises AnsweredError."""
    files = list(queryset)

    def change_each(work: Work) -> None:
        for file in files:
            try:
                change(file)
            except EXPECTED as error:
                log_error(file, error)
                work.fail(failure(file, error))
                if isinstance(error, S3UnavailableError):  # nor will it take the others
                    break
            finally:
                work.note_done()
        if work.done > work.failed:
            work.tell(summary(work.done - work.failed))
        if work.done < work.total:
            work.tell(_untried(work.total - work.done), WARNING)

    url = request.get_full_path()
    work = model_admin.do_work(request, str(title), change_each, url=url, total=len(files))
    model_admin.show_work(request, work)


def _move(file: File, folder: str) -> None:
    file.rename(folder + name_of(str(file)))


def _moved(count: int) -> str:
    return ngettext("Moved %d file.", "Moved %d files.", count) % count


def _trashed(count: int) -> str:
    return ngettext("Moved %d file to the trash.", "Moved %d files to the trash.", count) % count


def _restored(count: int) -> str:
    return ngettext("Restored %d file.", "Restored %d files.", count) % count


def _deleted(count: int) -> str:
    return ngettext("Deleted %d file.", "Deleted %d files.", count) % count


def _untried(count: int) -> str:
    return ngettext("%d file was not tried.", "%d files were not tried.", count) % count
