"""The pages of the admin: the list of files, and the page of each."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR, ShowFacets
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from files import access, changes, listing
from files.admin import actions, uploads
from files.admin.changes import DELETE, MOVE, PRESS_AGAIN, REPLACE, RESTORE, TRASH, log_error
from files.admin.columns import FileColumns, states, time_of
from files.admin.filters import SizeFilter, StateFilter, TypeFilter, is_trash
from files.admin.forms import UploadForm
from files.admin.places import file_url, list_url, shown_name, trail, trail_to
from files.admin.preview import preview
from files.admin.viewing import FileViewing, copies
from files.admin.works import AnsweredError, answering, linked, undo_button
from files.bodies import takes_upload
from files.errors import reason
from files.keys import as_folder, folder_of, name_of, visible
from files.models import File, FileQuerySet, Work
from files.storage import STANDARD

# Shown where they are set.
KNOWN = [
    *("checksum", "verified_at", "missing_at", "changed_at", "damaged_at"),
    *("deleted_at", "deleted_by"),
]
IN_TRASH = ["key", "type", "file_size", "trashed", "trashed_by"]  # the columns there
SUGGESTED = 20  # folders
TAKEN_OVER = _(
    "It was changed in the bucket, and not from here: what you see is what is there now."
)
_ID = re.compile(r"\d{1,18}", re.ASCII)


@admin.register(File)
class FileAdmin(FileColumns, FileViewing):
    """A list that asks S3 nothing, and a page for each file that asks whether it is there."""

    list_display = ["key", "type", "file_size", "modified", "state"]
    list_filter = [TypeFilter, SizeFilter, StateFilter]
    list_per_page = 100
    list_max_show_all = 0
    view_on_site = False  # the content is linked
    sortable_by = ["key", "file_size", "modified"]
    show_facets = ShowFacets.NEVER  # they count
    search_fields = ["object_key"]
    actions = [
        actions.download,
        actions.move,
        actions.trash,
        actions.restore,
        actions.delete,
    ]
    fields: ClassVar[Any] = (
        "key",
        "type",
        "file_size",
        "etag",
        time_of("modified_at"),
        time_of("created_at"),
        "storage_class",
        "checksum",
        *map(time_of, ("verified_at", "missing_at", "changed_at", "damaged_at", "deleted_at")),
        "deleted_by",
    )
    readonly_fields = fields

    class Media:
        css = {"all": ["files/admin.css", "files/preview.css"]}

    def get_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        if obj is None:
            return ["content", "name", "folder"]
        unset = {name for name in KNOWN if not getattr(obj, name)}
        if obj.storage_class in {"", STANDARD}:
            unset.add("storage_class")
        return [field for field in self.fields if getattr(field, "__name__", field) not in unset]

    def get_readonly_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj else ()

    def get_form(
        self, request: HttpRequest, obj: File | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = UploadForm
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        form.into = request.GET.get("folder", "").replace("\0", "")
        return form

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[File], search_term: str
    ) -> tuple[QuerySet[File], bool]:
        return listing.search(queryset, search_term, in_trash=is_trash(request)), False

    def get_list_display(self, request: HttpRequest) -> Any:
        return IN_TRASH if is_trash(request) else self.list_display

    def get_sortable_by(self, request: HttpRequest) -> Any:
        return ["file_size", "trashed"] if is_trash(request) else self.sortable_by

    def action_checkbox(self, file: File) -> SafeString:
        """Return a checkbox without Django's form field, a quarter of a page's time."""
        label = gettext("Select %s") % visible(file.name)
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            file.pk,
            label,
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> File | None:
        """Return the file as S3 has it now, or as it was when S3 cannot be asked."""
        file: File | None = super().get_object(request, object_id, from_field)
        if file is not None and request.method == "GET":
            was_changed = file.changed_at
            try:
                file.refresh_from_storage()
            except OSError as error:
                self.report(request, error, file)
            if was_changed and not file.changed_at:
                text = changes.about(file, TAKEN_OVER)
                self.message_user(request, text, messages.WARNING)
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
        if obj is None:
            folder = request.GET.get("folder", "")
            context["trail"] = trail(folder, (context["title"], ""))
            context["close_url"] = self._list_after(request, folder=folder)
        else:
            context |= {
                "close_url": self._list_after(request, folder=folder_of(obj.name)),
                "title": shown_name(name_of(obj.name)),
                "subtitle": None,
                "trail": trail_to(obj),
                "preview": preview(obj),
                "buttons": self._buttons(request, obj),
                "states": states(obj),
                "copies": copies(request, obj),
                "query": self._query(request),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _buttons(self, request: HttpRequest, file: File) -> list[dict[str, Any]]:
        """Return what this user can do with the file: pages to go to, and posts."""
        live = [
            ("rename", MOVE, "change", False),
            ("replace", REPLACE, "replace", False),
            ("trash", TRASH, "delete", True),
        ]
        trashed = [
            ("restore", RESTORE, "restore", True),
            ("delete", DELETE, "purge", False),
        ]
        query = self._query(request)
        return [
            {
                "url": reverse(f"admin:files_file_{name}", args=[file.pk]) + query,
                "label": label,
                "post": post,
            }
            for name, label, permission, post in (trashed if file.deleted_at else live)
            if access.has_permission(request.user, permission)
        ]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.folders_view)
        undo = self.admin_site.admin_view(answering(self.undo_view))
        return [
            path("folders/", view, name="files_file_folders"),
            path("work/<int:pk>/undo/", undo, name="files_file_undo"),
            *super().get_urls(),
        ]

    def undo_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Undo what the user has done last, as far as it has not been changed since."""
        user: Any = request.user
        work = Work.objects.filter(pk=pk, user_id=user.pk).first()
        if work is None:  # it has been forgotten since
            self.message_user(request, actions.NOTHING_LEFT, messages.WARNING)
            return HttpResponseRedirect(self._list_after(request))
        if not self.has_undo_permission(request, work):
            raise PermissionDenied
        if request.method == "POST" or not work.undo:
            actions.undo(self, request, work)
        else:  # it is only opened, as after a login
            again = format_html("{} {}", PRESS_AGAIN, undo_button(work))
            self.message_user(request, again, messages.WARNING)
        return HttpResponseRedirect(work.url)

    @method_decorator(require_safe)
    def folders_view(self, request: HttpRequest) -> JsonResponse:
        """Complete the folder that somebody types, and tell whether it is a new one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        typed = request.GET.get("folder", "").replace("\0", "")
        folder = as_folder(typed)
        files = cast("FileQuerySet", self.get_queryset(request)).live()
        is_new = bool(folder) and not files.below(folder).exists()
        return JsonResponse({"folders": listing.folders(typed, SUGGESTED), "is_new": is_new})

    # Django's own pages

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[File], *args: Any, **kwargs: Any
    ) -> Any:
        """Refuse a selection of what can be no file: Django raises ValueError."""
        selected = set(request.POST.getlist(ACTION_CHECKBOX_NAME))
        if not all(_ID.fullmatch(pk) for pk in selected):
            self.message_user(request, gettext("Select files from the list."), messages.WARNING)
            return None
        if gone := len(selected) - queryset.filter(pk__in=selected).count():
            self.message_user(request, _gone(gone), messages.WARNING)
        if selected and gone == len(selected):
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context: dict[str, Any] = {
            "works": Work.objects.recent(request.user),
            **(extra_context or {}),
        }
        if ERROR_FLAG in request.GET and request.method == "GET":
            self.message_user(request, _("There is no list of that address."), messages.WARNING)
        if self.has_add_permission(request) and not is_trash(request):
            context["upload"] = uploads.script_config(request.user, request.GET.get("folder", ""))
        return self._reporting(super().changelist_view, request, extra_context=context)

    @takes_upload("add")
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._reporting(super().add_view, request, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: File, *args: Any, **kwargs: Any) -> Any:
        """Tell of the file by a link, in its folder."""
        if IS_POPUP_VAR in request.POST:
            return super().response_add(request, obj, *args, **kwargs)
        is_seen = self.has_view_permission(request, obj)
        text = changes.about(obj, gettext("The file was added."))
        self.message_user(request, linked(text, file_url(obj) if is_seen else ""))
        if "_addanother" in request.POST or not is_seen:
            return HttpResponseRedirect(request.get_full_path())
        return HttpResponseRedirect(list_url(folder_of(str(obj))))

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> Any:
        """Say so, and stay in the list that one came from."""
        self.tell_missing(request, object_id)
        return HttpResponseRedirect(self._list_after(request))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse):
            context: Any = response.context_data
            name = shown_name(name_of(context["object"].name))
            context["title"] = gettext("History: %s") % name
            context["trail"] = trail_to(context["object"], (gettext("History"), ""))
        return response

    def save_model(self, request: HttpRequest, obj: File, form: Any, change: bool) -> None:
        try:
            super().save_model(request, obj, form, change)
        except OSError as error:
            log_error(obj, error)
            raise

    def _reporting(
        self, view: Callable[..., HttpResponseBase], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Show what S3 does not do as a message on the page it was asked from."""
        try:
            return view(request, *args, **kwargs)
        except AnsweredError as answered:
            return HttpResponseRedirect(answered.url)
        except (OSError, IntegrityError) as error:
            if request.method != "POST":
                raise
            self.message_user(request, reason(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _gone(count: int) -> str:
    text = ngettext(
        "%d selected file is not here any more.", "%d selected files are not here any more.", count
    )
    return text % count
