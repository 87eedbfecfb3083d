"""What is done with several files: a zip, moves, the trash, deletion."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.messages import WARNING
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from files import changes
from files.admin.changes import DELETE, RESTORE, TRASH, FileChanges, failure, log_error
from files.admin.columns import shown_key
from files.admin.filters import is_trash
from files.admin.forms import ConfirmForm, MoveForm, is_typeable
from files.admin.places import file_url, list_url, trail
from files.admin.works import AnsweredError
from files.delivery import archive
from files.errors import EXPECTED, reason
from files.keys import brief, folder_name, name_of
from files.models import File, Work
from files.storage import S3UnavailableError
from files.work import as_it_is

MOVE = _("Move to another folder")
NOTHING_LEFT = _("There is nothing to be undone any more.")
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

        def rename(file: File, work: Work) -> None:
            before = str(file)
            key = folder + name_of(before)
            if key == before:
                raise ValidationError(gettext("It is in this folder already."))
            _rename(request.user, file, key)
            work.note_undo(file, before)

        url = list_url(folder)
        each(model_admin, request, queryset, rename, MOVE, partial(_moved, folder), leads_to=url)
        return None
    return _form(model_admin, request, queryset, "move", MOVE, form=form)


@admin.action(description=TRASH, permissions=["trash"])
def trash(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Put each into the trash."""

    def trash_one(file: File, work: Work) -> None:
        changes.trash(request.user, file)
        work.note_undo(file)

    each(model_admin, request, queryset, trash_one, TRASH, _trashed)


@admin.action(description=RESTORE, permissions=["restore"])
def restore(model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]) -> None:
    """Take each out of the trash."""

    def restore_one(file: File, work: Work) -> None:
        wanted = file.name
        text = changes.restore(request.user, file)
        if str(file) != wanted:
            work.tell(changes.about(file, text), url=file_url(file))

    each(model_admin, request, queryset, restore_one, RESTORE, _restored)


@admin.action(description=DELETE, permissions=["purge"])
def delete(
    model_admin: FileChanges, request: HttpRequest, queryset: QuerySet[File]
) -> HttpResponseBase | None:
    """Ask whether it is meant, then delete for good what S3 and the database let go."""
    if "confirmed" in request.POST:

        def delete_one(file: File, work: Work) -> None:
            changes.delete(request.user, file)

        each(model_admin, request, queryset, delete_one, DELETE, _deleted)
        return None
    form = ConfirmForm(initial={"confirmed": True})
    return _form(model_admin, request, queryset, "delete", DELETE, form=form, warning=ALL_FOR_GOOD)


def _rename(user: Any, file: File, key: str) -> None:
    """Give the file another key. Raises ValidationError, which names it, for one that is taken."""
    try:
        changes.rename(user, file, key)
    except ValidationError as error:
        taken = changes.about(File(object_key=key), reason(error))
        raise ValidationError(taken) from error


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
        "files": [(file.pk, shown_key(file.name)) for file in files],
        "action": action,
    }
    return TemplateResponse(request, "admin/files/file/form.html", context)


def undo(model_admin: FileChanges, request: HttpRequest, done: Work) -> None:
    """Bring the files back to where they were. Raises AnsweredError where it takes long."""
    noted = {entry[0]: entry for entry in done.take_undo()}
    files = [
        file for file in File.objects.filter(pk__in=noted) if as_it_is(file) == noted[file.pk][2:]
    ]
    if len(files) < len(noted) or not noted:
        model_admin.message_user(request, _changed_since(len(noted) - len(files)), WARNING)
    if not files:
        return
    left = {file.pk: noted[file.pk] for file in files}

    def undo_one(file: File, work: Work) -> None:
        work.undo = [*left.values()]  # what can be tried again, if it fails
        _, before, *_ = left[file.pk]
        if before:
            _rename(request.user, file, before)
        else:
            changes.restore(request.user, file)
        del left[file.pk]
        work.undo = [*left.values()]

    title = gettext("Undo: %s") % done.title
    try:
        each(model_admin, request, files, undo_one, title, _undone, url=done.url)
    except AnsweredError:
        raise  # it goes on
    except Exception:
        Work.objects.filter(pk=done.pk).update(undo=[*left.values()])
        raise


def each(
    model_admin: FileChanges,
    request: HttpRequest,
    files: Iterable[File],
    change: Callable[[File, Work], None],
    title: Any,
    summary: Callable[[int], str],
    *,
    url: str = "",
    leads_to: str = "",
) -> None:
    """Change each file as work, and tell of those that cannot be changed. Raises AnsweredError.

    The summary leads to an address, where one is given.
    """
    files = list(files)

    def change_each(work: Work) -> None:
        for file in files:
            try:
                change(file, work)
            except EXPECTED as error:
                log_error(file, error)
                work.fail(failure(file, error))
                if isinstance(error, S3UnavailableError):  # nor will it take the others
                    break
            finally:
                work.note_done()
        if work.done > work.failed:
            work.tell(summary(work.done - work.failed), url=leads_to)
        if work.done < work.total:
            work.tell(_untried(work.total - work.done), WARNING)

    url = url or request.get_full_path()
    work = model_admin.do_work(request, str(title), change_each, url=url, total=len(files))
    model_admin.show_work(request, work)


def _moved(folder: str, count: int) -> str:
    text = ngettext(
        "Moved %(count)d file to “%(folder)s”.", "Moved %(count)d files to “%(folder)s”.", count
    )
    return text % {"count": count, "folder": brief(folder) or gettext("All files")}


def _trashed(count: int) -> str:
    return ngettext("Moved %d file to the trash.", "Moved %d files to the trash.", count) % count


def _restored(count: int) -> str:
    return ngettext("Restored %d file.", "Restored %d files.", count) % count


def _deleted(count: int) -> str:
    return ngettext("Deleted %d file permanently.", "Deleted %d files permanently.", count) % count


def _untried(count: int) -> str:
    return ngettext("%d file was not tried.", "%d files were not tried.", count) % count


def _changed_since(count: int) -> str:
    text = ngettext(
        "%d file has been changed or deleted since, and stays so.",
        "%d files have been changed or deleted since, and stay so.",
        count,
    )
    return text % count if count else str(NOTHING_LEFT)


def _undone(count: int) -> str:
    return ngettext("%d file is where it was.", "%d files are where they were.", count) % count
