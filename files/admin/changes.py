"""What is done with one file: rename, replace, trash, restore, delete."""

import logging
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import parse_qs

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files import access, changes
from files.admin.columns import shown_key
from files.admin.forms import ConfirmForm, RenameForm, ReplaceForm
from files.admin.places import file_url, leading, list_url, shown_name, trail_to
from files.admin.works import AnsweredError, WorkPages, answering
from files.bodies import takes_upload
from files.errors import EXPECTED, reason
from files.keys import brief, folder_of, name_of
from files.models import File, Work

MOVE = _("Rename or move")
REPLACE = _("Replace content")
TRASH = _("Move to trash")
RESTORE = _("Restore")
DELETE = _("Delete permanently")
PRESS_AGAIN = _("Nothing was changed: press the button again.")
FOR_GOOD = _("The file and its content are deleted permanently. This cannot be undone.")

logger = logging.getLogger(__name__)


class FileChanges(WorkPages):
    """Pages that change one file, none of them in a transaction."""

    def get_urls(self) -> list[Any]:
        own = [
            self.page("rename", self.rename_view),
            self.page("replace", self.replace_view),
            self.page("trash", self.trash_view),
            self.page("restore", self.restore_view),
            self.page("delete", self.purge_view),
        ]
        return own + super().get_urls()

    def page(self, name: str, view: Callable[..., HttpResponseBase]) -> Any:
        """Return the address of a page about one file, which is named after it."""
        answer = self.admin_site.admin_view(answering(view))
        return path(f"<int:pk>/{name}/", answer, name=f"files_file_{name}")

    def rename_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._live(request, pk, "change")
        form = RenameForm(str(file), request.POST or None)

        def rename() -> str:
            return changes.rename(request.user, file, form.cleaned_data["key"])

        return self._form_view(request, file, form, rename, MOVE, can_be_undone=True)

    @takes_upload("replace")
    def replace_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._live(request, pk, "replace")
        form = ReplaceForm(request.POST or None, request.FILES.copy() or None)

        def replace() -> str:
            return changes.replace(request.user, file, form.cleaned_data["content"])

        request.FILES.clear()  # which would be closed with the request

        return self._form_view(request, file, form, replace, REPLACE)

    def trash_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._live(request, pk, "delete")
        self._require_post(request, file)

        def trash() -> str:
            return changes.trash(request.user, file)

        url = self._list_after(request, folder=folder_of(str(file)))
        return self._post_view(request, file, trash, TRASH, url, can_be_undone=True)

    def restore_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._trashed(request, pk, "restore")
        self._require_post(request, file)

        def restore() -> str:
            return changes.restore(request.user, file)

        return self._post_view(request, file, restore, RESTORE, self._url_after(request, file))

    def purge_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._trashed(request, pk, "purge")

        def delete() -> str:
            return changes.delete(request.user, file)

        url = self._list_after(request, state="trash")
        form = ConfirmForm(request.POST or None, initial={"confirmed": True})
        files = [(file.pk, shown_key(file.name))]
        return self._form_view(
            request, file, form, delete, DELETE, url=url, warning=FOR_GOOD, files=files
        )

    def report(self, request: HttpRequest, error: Exception, file: File) -> None:
        """Log what S3 did not do with the file, and show it on the next page."""
        log_error(file, error)
        self.message_user(request, failure(file, error), messages.ERROR)

    def _live(self, request: HttpRequest, pk: int, permission: str) -> File:
        """Return a file that is not in the trash. Raises PermissionDenied, and AnsweredError."""
        file = self._file(request, pk, permission)
        if file.deleted_at:
            self._answer(request, file, gettext("It is in the trash by now."))
        return file

    def _trashed(self, request: HttpRequest, pk: int, permission: str) -> File:
        """Return a file in the trash. Raises PermissionDenied, and AnsweredError."""
        file = self._file(request, pk, permission)
        if not file.deleted_at:
            self._answer(request, file, gettext("It is not in the trash any more."))
        return file

    def _file(
        self, request: HttpRequest, pk: int, permission: str, files: QuerySet[File] | None = None
    ) -> File:
        """Return a file, one of these if given. Raises PermissionDenied, and AnsweredError."""
        if not access.has_permission(request.user, permission):
            raise PermissionDenied
        file: File | None = (File.objects.all() if files is None else files).filter(pk=pk).first()
        if file is None:
            self.tell_missing(request, pk)
            raise AnsweredError(self._list_after(request))
        return file

    def tell_missing(self, request: HttpRequest, pk: object) -> None:
        """Tell that there is no such file, on the next page."""
        text = gettext(
            "There is no file with the ID %s that you may see: it may have been deleted."
        )
        self.message_user(request, text % pk, messages.WARNING)

    def _require_post(self, request: HttpRequest, file: File) -> None:
        """Refuse an address that is only opened, as after a login. Raises AnsweredError."""
        if request.method != "POST":
            self._answer(request, file, PRESS_AGAIN)

    def _answer(self, request: HttpRequest, file: File, text: Any) -> NoReturn:
        """Say it, and of which file to those who may see that. Raises AnsweredError."""
        if access.may_read(request.user, file):
            text = changes.about(file, text)
        self.message_user(request, text, messages.WARNING)
        raise AnsweredError(self._url_after(request, file))

    def _post_view(
        self,
        request: HttpRequest,
        file: File,
        change: Callable[[], str],
        title: Any,
        url: str,
        *,
        can_be_undone: bool = False,
    ) -> HttpResponseBase:
        """Make the change and go to the address, or back to the file where that fails."""
        try:
            self._change(request, file, change, title, url, can_be_undone)
        except EXPECTED as error:
            self.message_user(request, failure(file, error), messages.ERROR)
            return HttpResponseRedirect(self._url_after(request, file))
        return HttpResponseRedirect(url)

    def _form_view(
        self,
        request: HttpRequest,
        file: File,
        form: Form,
        change: Callable[[], str],
        title: Any,
        *,
        url: str = "",
        can_be_undone: bool = False,
        **context: Any,
    ) -> HttpResponseBase:
        """Show the form, or make the change and go to the address, by default that of the file."""
        url = url or self._url_after(request, file)
        if form.is_valid():
            try:
                self._change(request, file, change, title, url, can_be_undone)
            except ValidationError as error:
                field = "name" if "name" in form.fields else None
                form.add_error(field, leading(error, request.user))
            except EXPECTED as error:
                form.add_error(None, reason(error))
            else:
                return HttpResponseRedirect(url)
        context |= self.admin_site.each_context(request) | {
            "title": f"{title}: {shown_name(name_of(file.name))}",
            "submit": title,
            "cancel_url": self._url_after(request, file),
            "opts": self.opts,
            "trail": trail_to(file, (title, "")),
            "form": form,
        }
        return TemplateResponse(request, "admin/files/file/form.html", context)

    def _change(
        self,
        request: HttpRequest,
        file: File,
        change: Callable[[], str],
        title: Any,
        url: str,
        can_be_undone: bool = False,
    ) -> None:
        """Make the change as work. Raises what it raises, and AnsweredError."""

        def work_on(work: Work) -> None:
            before = str(file)
            try:
                text = change()
            except (OSError, IntegrityError) as error:
                log_error(file, error)
                raise
            work.tell(changes.about(file, text))
            if can_be_undone:
                work.note_undo(file, "" if file.deleted_at else before)

        work = self.do_work(request, f"{title}: {brief(file.name)}", work_on, url=url)
        self.show_work(request, work)

    def _list_after(self, request: HttpRequest, **place: str) -> str:
        """Return the address of the list that one came from, or else of this place.

        It is that of the index for those who may not see the list.
        """
        if not self.has_view_permission(request):
            return reverse("admin:index")
        filters = self.list_filters(request)
        return f"{list_url()}?{filters}" if filters else list_url(**place)

    def list_filters(self, request: HttpRequest) -> str:
        """Return the query of the list that one came from, empty where one did not."""
        (filters,) = parse_qs(self.get_preserved_filters(request)).get("_changelist_filters", [""])
        return filters

    def _query(self, request: HttpRequest) -> str:
        """Return what keeps the list that one came from in an address."""
        filters = self.get_preserved_filters(request)
        return f"?{filters}" if filters else ""

    def _url_after(self, request: HttpRequest, file: File) -> str:
        """Return the address of the file, or of the list for those who may not see the file."""
        if not self.has_view_permission(request, file):
            return self._list_after(request)
        return file_url(file) + self._query(request)


def log_error(file: File, error: Exception) -> None:
    """Log what S3 did not do with the file."""
    logger.error("File %s (%r): %s", file.pk, str(file), error)


def failure(file: File, error: Exception) -> str:
    """Return what people read of an error with this file."""
    return changes.about(file, reason(error))
