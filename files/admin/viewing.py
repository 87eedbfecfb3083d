"""Pages that show one file and change nothing: its content, and what S3 keeps beside it."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from files import listing
from files.admin.changelist import FileChangeList
from files.admin.changes import FileChanges, log_error
from files.admin.columns import states
from files.admin.places import shown_name, trail_to
from files.admin.preview import preview
from files.errors import reason
from files.keys import folder_of, name_of, visible
from files.models import File

PREVIEW = "files_file_preview"
OBJECT = _("Object in S3")


class Neighbours(FileChangeList):
    """The list that one came from, of which no page is asked for."""

    def get_results(self, request: HttpRequest) -> None:
        """Leave it to `of`."""

    def of(self, file: File) -> tuple[File | None, File | None] | None:
        """Return the files before and after this one, as far as they are found soon.

        None stands for a file that is not in the list.
        """
        if not self.queryset.filter(pk=file.pk).exists():
            return None
        order, descending = self._order()
        try:
            with listing.time_limit(listing.WALK_SECONDS):
                return listing.neighbours(self.queryset, file, order, descending)
        except listing.TooSlowError:
            return None, None

    def _title(self) -> str:
        return ""


class FileViewing(FileChanges):
    """Shows a file to those who may read it."""

    def get_urls(self) -> list[Any]:
        own = [self.page("preview", self.preview_view), self.page("object", self.object_view)]
        return own + super().get_urls()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FileChangeList]:
        name = request.resolver_match.url_name if request.resolver_match else ""
        return Neighbours if name == PREVIEW else FileChangeList

    @method_decorator(require_safe)
    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Show the content in all of the window, and lead to the files before and after it."""
        file = self._readable(request, pk)
        previous, following = self._neighbours(request, file)
        return self._page(
            request,
            file,
            "preview",
            _("Preview"),
            preview=preview(file),
            states=states(file),
            previous=previous,
            next=following,
            query=self._query(request),
        )

    @method_decorator(require_safe)
    def object_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Show what S3 keeps with the content."""
        file = self._readable(request, pk)
        parts = [
            (_("Headers and metadata"), *_read(file, file.storage.details)),
            (_("Tags"), *_read(file, file.storage.tags)),
        ]
        return self._page(request, file, "object", OBJECT, parts=parts)

    def _readable(self, request: HttpRequest, pk: int) -> File:
        """Return a file that the user may read. Raises PermissionDenied, and AnsweredError."""
        return self._file(request, pk, "view", self.get_queryset(request))

    def _neighbours(self, request: HttpRequest, file: File) -> tuple[File | None, File | None]:
        """Return the files beside it in the list that one came from, or else in its folder."""
        place = {"state": "trash"} if file.deleted_at else {"folder": folder_of(str(file))}
        of_list = copy(request)
        for query in filter(None, [self.list_filters(request), urlencode(place)]):
            of_list.GET = QueryDict(query)
            with suppress(IncorrectLookupParameters):
                found = cast("Neighbours", self.get_changelist_instance(of_list)).of(file)
                if found is not None:
                    return found
        return None, None

    def _page(
        self, request: HttpRequest, file: File, name: str, title: Any, **context: Any
    ) -> HttpResponseBase:
        context |= self.admin_site.each_context(request) | {
            "title": f"{title}: {shown_name(name_of(file.name))}",
            "opts": self.opts,
            "original": file,
            "trail": trail_to(file, (title, "")),
            "is_nav_sidebar_enabled": False,
        }
        return TemplateResponse(request, f"admin/files/file/{name}.html", context)


def copies(request: HttpRequest, file: File) -> list[tuple[Any, Any, str]]:
    """Return what people copy of a file, after what to say before and afterwards.

    It is JSON: HTML would change the line ends in a key.
    """
    found = [
        (_("Copy key"), _("Copied: key."), file.name),
        (_("Copy S3 URI"), _("Copied: S3 URI."), file.storage.uri(str(file))),
        (
            _("Copy address"),
            _("Copied: address."),
            request.build_absolute_uri(file.get_absolute_url()),
        ),
        (_("Copy command"), _("Copied: command."), f"manage.py read_file {file.pk}"),
    ]
    return [(label, done, json.dumps(text, ensure_ascii=False)) for label, done, text in found]


def _read(
    file: File, read: Callable[[str], Mapping[str, str]]
) -> tuple[list[tuple[str, str]], str]:
    """Return what S3 tells, or else why it does not."""
    try:
        found = read(str(file))
    except OSError as error:
        log_error(file, error)
        return [], reason(error)
    return [(visible(name), visible(value)) for name, value in found.items()], ""
