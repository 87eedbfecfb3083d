"""The catalogue in the Django admin."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.forms.widgets import Script
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from files import access, listing
from files.admin.changelist import FileChangeList, trail
from files.admin.filters import SizeFilter, StateFilter, TypeFilter, is_trash
from files.admin.forms import MoveForm, RenameForm, ReplaceForm, UploadForm
from files.admin.preview import preview
from files.delivery import archive
from files.keys import folder_of, name_of, visible
from files.models import File
from files.uploads import Uploads, refuse_taken

logger = logging.getLogger(__name__)


@admin.register(File)
class FileAdmin(admin.ModelAdmin):
    """A list that asks S3 nothing, and a page for each file that asks whether it is there."""

    list_display = ["key", "type", "file_size", "modified", "state"]
    list_filter = [TypeFilter, SizeFilter, StateFilter]
    list_per_page = 100
    list_max_show_all = 0
    view_on_site = False  # the content is linked
    sortable_by = ["key", "file_size", "modified"]
    show_facets = ShowFacets.NEVER  # they count
    search_fields = ["object_key"]
    actions = ["download", "move", "trash", "restore", "delete_selected"]
    fields = (
        "key",
        "content",
        "type",
        "file_size",
        "etag",
        "modified_at",
        "created_at",
        "missing_at",
        "deleted_at",
    )
    readonly_fields = fields

    class Media:
        css = {"all": ["files/admin.css", "files/preview.css"]}
        js = [Script("files/upload.js", type="module")]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._uploads = Uploads(self)

    # What is shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FileChangeList

    def get_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        if obj is None:
            return ["content", "key", "into"]
        unset = {name for name in ("missing_at", "deleted_at") if getattr(obj, name) is None}
        return [name for name in self.fields if name not in unset]

    def get_readonly_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def get_form(
        self, request: HttpRequest, obj: File | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = UploadForm
        return super().get_form(request, obj, change, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"into": request.GET.get("folder", "")}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[File], search_term: str
    ) -> tuple[QuerySet[File], bool]:
        return listing.search(queryset, search_term), False

    def action_checkbox(self, file: File) -> SafeString:
        """Do without Django's form field for each row: a quarter of a page's time."""
        label = gettext("Select %s") % visible(file.name)
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            file.pk,
            label,
        )

    @admin.display(description=_("key"), ordering="object_key")
    def key(self, file: File) -> str:
        shown: str = getattr(file, "shown", file.name)
        return visible(shown) or gettext("(no name)")

    @admin.display(description=_("type"))
    def type(self, file: File) -> str:
        return file.content_type

    @admin.display(description=_("size"), ordering="size")
    def file_size(self, file: File) -> str:
        return "" if file.size is None else filesizeformat(file.size)

    @admin.display(description=_("modified"), ordering="modified_at")
    def modified(self, file: File) -> str:
        when = file.modified_at
        return "" if when is None else date_format(localtime(when), "DATETIME_FORMAT")

    @admin.display(description=_("state"))
    def state(self, file: File) -> str:
        if file.deleted_at:
            return gettext("in the trash")
        return gettext("missing") if file.missing_at else ""

    @admin.display(description=_("content"))
    def content(self, file: File) -> str:
        if file.missing_at:
            return gettext("The object is missing from the bucket.")
        return format_html(
            '<a href="{0}">{1}</a> &nbsp; <a href="{0}?download">{2}</a>',
            file.get_absolute_url(),
            _("Open"),
            _("Download"),
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> File | None:
        """Return the file as S3 has it now, or as it was when S3 cannot be asked."""
        file: File | None = super().get_object(request, object_id, from_field)
        if file is None or (file.deleted_at and not self.has_trash_view_permission(request)):
            return None
        if request.method == "GET":
            try:
                file.refresh_from_storage()
            except OSError as error:
                self._report(request, error)
        return file

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: File | None = None,
    ) -> Any:
        if obj is not None:
            folder = folder_of(obj.name)
            context |= {
                "title": visible(obj.name.removeprefix(folder)) or gettext("(no name)"),
                "subtitle": None,
                "trail": trail(folder, self._list_url),
                "preview": preview(obj),
                "buttons": self._buttons(request, obj),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _buttons(self, request: HttpRequest, file: File) -> list[dict[str, Any]]:
        """Return what this user can do with the file: pages to go to, and posts."""
        live = file.deleted_at is None
        possible = [
            ("rename", _("Rename or move"), live and self.has_move_permission(request), False),
            ("replace", _("Replace content"), live and self.has_replace_permission(request), False),
            ("trash", _("Move to trash"), live and self._may(request, "delete"), True),
            ("restore", _("Restore"), not live and self._may(request, "restore"), True),
            ("delete", _("Delete permanently"), self.has_delete_permission(request, file), False),
        ]
        return [
            {
                "url": reverse(f"admin:files_file_{name}", args=[file.pk]),
                "label": label,
                "post": post,
            }
            for name, label, allowed, post in possible
            if allowed
        ]

    # Who may do what

    def _may(self, request: HttpRequest, what: str) -> bool:
        return bool(request.user.has_perm(f"files.{what}_file"))

    def has_change_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Say no: the form changes nothing. Keys are changed by `rename`, contents by `replace`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        """Django's own deletion is for good, and only of what is in the trash."""
        in_trash = is_trash(request) if obj is None else obj.deleted_at is not None
        return in_trash and self._may(request, "purge")

    def has_trash_view_permission(self, request: HttpRequest) -> bool:
        return access.may_see_trash(request.user)

    def has_download_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and not is_trash(request)

    def has_move_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "change") and not is_trash(request)

    def has_replace_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "replace")

    def has_trash_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "delete") and not is_trash(request)

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "restore") and is_trash(request)

    # What is done with one file

    def get_urls(self) -> list[Any]:
        def named(name: str, view: Callable[..., HttpResponseBase]) -> Any:
            route = f"<int:pk>/{name}/"
            return path(route, self.admin_site.admin_view(view), name=f"files_file_{name}")

        own = [
            named("rename", self.rename_view),
            named("replace", self.replace_view),
            named("trash", self.trash_view),
            named("restore", self.restore_view),
        ]
        return own + self._uploads.urls + super().get_urls()

    def rename_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._file(request, pk, "change", live=True)
        form = RenameForm(request.POST or None, initial={"key": _proposed(str(file))})
        old = visible(str(file))

        def rename() -> str:
            try:
                file.rename(form.cleaned_data["key"])
            except FileExistsError:
                refuse_taken(form.cleaned_data["key"])
                raise
            return gettext("Renamed from %s.") % old

        return self._form_view(request, file, form, rename, _("Rename or move"))

    def replace_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._file(request, pk, "replace", live=True)
        form = ReplaceForm(request.POST or None, request.FILES or None)

        def replace() -> str:
            file.replace(form.cleaned_data["content"])
            return gettext("Replaced the content; the former one is in the trash.")

        return self._form_view(request, file, form, replace, _("Replace content"))

    @method_decorator(require_POST)
    def trash_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._file(request, pk, "delete", live=True)
        file.trash()
        self._done(request, file, gettext("Moved to the trash."))
        return HttpResponseRedirect(self._list_url(folder_of(str(file))))

    @method_decorator(require_POST)
    def restore_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        file = self._file(request, pk, "restore", live=False)
        try:
            file.restore()
        except OSError as error:
            self._report(request, error)
        else:
            self._done(request, file, gettext("Restored from the trash."))
        return HttpResponseRedirect(self._url(file))

    def _file(self, request: HttpRequest, pk: int, permission: str, *, live: bool) -> File:
        if not self._may(request, permission):
            raise PermissionDenied
        files = File.objects.live() if live else File.objects.trashed()
        file = files.filter(pk=pk).first()
        if file is None:
            raise Http404
        return file

    def _form_view(
        self, request: HttpRequest, file: File, form: Form, change: Callable[[], str], title: Any
    ) -> HttpResponseBase:
        """Show the form, or do what it is for and go back to the file."""
        if form.is_valid():
            try:
                text = change()
            except ValidationError as error:
                form.add_error("key", error)
            except OSError as error:
                logger.error("%s", error)
                form.add_error(None, f"{error.strerror or error}.")
            else:
                self._done(request, file, text)
                return HttpResponseRedirect(self._url(file))
        context = self.admin_site.each_context(request) | {
            "title": title,
            "subtitle": visible(file.name),
            "opts": self.opts,
            "original": file,
            "original_url": self._url(file),
            "form": form,
        }
        return TemplateResponse(request, "admin/files/file/form.html", context)

    def _done(self, request: HttpRequest, file: File, text: str) -> None:
        self.log_change(request, file, text)
        self.message_user(request, f"“{visible(file.name)}”: {text}", messages.SUCCESS)

    def _url(self, file: File) -> str:
        return reverse("admin:files_file_change", args=[file.pk])

    def _list_url(self, folder: str) -> str:
        query = {"folder": folder} if folder else None
        return reverse("admin:files_file_changelist", query=query)

    # What is done with several

    @admin.action(description=_("Download as a zip"), permissions=["download"])
    def download(self, request: HttpRequest, queryset: QuerySet[File]) -> HttpResponseBase:
        folder = request.GET.get("folder", "")
        name = f"{name_of(folder.rstrip('/')) or 'files'}.zip"
        return archive.respond(request, queryset.iterator(), base=folder, name=name)

    @admin.action(description=_("Move to another folder"), permissions=["move"])
    def move(self, request: HttpRequest, queryset: QuerySet[File]) -> HttpResponseBase | None:
        form = MoveForm(
            request.POST if "folder" in request.POST else None,
            initial={"folder": _proposed(request.GET.get("folder", ""))},
        )
        if form.is_valid():
            folder = form.cleaned_data["folder"]
            self._each(
                request, queryset, lambda file: file.rename(folder + name_of(str(file))), _moved
            )
            return None
        context = self.admin_site.each_context(request) | {
            "title": _("Move to another folder"),
            "opts": self.opts,
            "files": [(file.pk, visible(str(file))) for file in queryset],
            "form": form,
        }
        return TemplateResponse(request, "admin/files/file/move.html", context)

    @admin.action(description=_("Move to trash"), permissions=["trash"])
    def trash(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        self._each(request, queryset, File.trash, _trashed)

    @admin.action(description=_("Restore"), permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        self._each(request, queryset, File.restore, _restored)

    def _each(
        self,
        request: HttpRequest,
        files: QuerySet[File],
        change: Callable[[File], None],
        text: Callable[[int], str],
    ) -> None:
        """Do it with each file, and tell of each that it cannot be done with."""
        done = 0
        for file in files:
            try:
                change(file)
            except ValidationError as error:
                self.message_user(
                    request, f"“{visible(str(file))}”: {error.messages[0]}", messages.ERROR
                )
            except OSError as error:
                self._report(request, error, file)
            else:
                self.log_change(request, file, text(1))
                done += 1
        if done:
            self.message_user(request, text(done), messages.SUCCESS)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        """Delete all that can be deleted. Raises the last OSError, when the others are told."""
        failed: list[tuple[OSError, File]] = []
        for file in queryset:
            try:
                with transaction.atomic():
                    super().log_deletions(request, queryset.filter(pk=file.pk))
                    file.delete()
            except OSError as error:
                failed.append((error, file))
        for reason, file in failed[:-1]:
            self._report(request, reason, file)
        if failed:
            raise failed[-1][0]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Leave the log of several to `delete_queryset`, which knows what has been deleted."""
        if not isinstance(queryset, QuerySet):
            return super().log_deletions(request, queryset)
        return None

    # Django's own pages

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().add_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context: dict[str, Any] = {
            "title": gettext("Trash") if is_trash(request) else gettext("Files"),
            **(extra_context or {}),
        }
        if self.has_add_permission(request) and not is_trash(request):
            context["upload"] = self._uploads.config() | {
                "folder": request.GET.get("folder", ""),
                "mayReplace": self.has_replace_permission(request),
            }
        return self._reporting(super().changelist_view, request, extra_context=context)

    def _reporting(
        self, view: Callable[..., HttpResponseBase], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Show what S3 refuses as a message on the page it was asked from."""
        try:
            return view(request, *args, **kwargs)
        except OSError as error:
            if request.method != "POST":
                raise
            self._report(request, error)
            return HttpResponseRedirect(request.get_full_path())

    def _report(self, request: HttpRequest, error: OSError, file: File | None = None) -> None:
        logger.error("%s", error)
        told = f"“{visible(str(file))}”: " if file else ""
        self.message_user(request, f"{told}{error.strerror or error}.", messages.ERROR)


def _proposed(key: str) -> str:
    """Return what a text field can show of a key: none with line ends, which it would drop."""
    return key if key.isprintable() else ""


def _moved(count: int) -> str:
    return ngettext("Moved %d file.", "Moved %d files.", count) % count


def _trashed(count: int) -> str:
    return ngettext("Moved %d file to the trash.", "Moved %d files to the trash.", count) % count


def _restored(count: int) -> str:
    return ngettext("Restored %d file.", "Restored %d files.", count) % count
