"""The list of files in the admin: folders, filters, pages by cursor."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_noop, ngettext

from files import listing
from files.admin.filters import STATE_VAR, is_trash
from files.keys import folders_to, visible

FOLDER_VAR = "folder"
BELOW_VAR = "below"
AFTER_VAR = "after"
BEFORE_VAR = "before"
USAGE_VAR = "usage"

NARROWER = gettext_noop("Search for more letters, or below a folder.")


def trail(folder: str, url: Callable[[str], str]) -> list[dict[str, str]]:
    """Return name and address of each folder on the way to this one."""
    steps = itertools.pairwise(["", *folders_to(folder)])
    return [
        {"name": visible(step.removeprefix(above).removesuffix("/")), "url": url(step)}
        for above, step in steps
    ]


class FileChangeList(ChangeList):
    """A folder with its folders and files, or everything below it."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        own = {FOLDER_VAR, BELOW_VAR, USAGE_VAR}
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in own}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        for name in (AFTER_VAR, BEFORE_VAR):  # no link goes on from here but those of the pages
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        self.folder = request.GET.get(FOLDER_VAR, "")
        if "\0" in self.folder or (self.folder and not self.folder.endswith("/")):
            raise IncorrectLookupParameters(self.folder)
        self.in_trash = is_trash(request)
        self.is_flat = bool(self.query or BELOW_VAR in request.GET or STATE_VAR in request.GET)
        self.filtered = super().get_queryset(request, exclude_parameters)
        inside = listing.below(self.folder) if self.is_flat else Q(folder=self.folder)
        return self.filtered.filter(inside)

    def get_results(self, request: HttpRequest) -> None:
        try:
            page = self._find(request)
        except (ValueError, TypeError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error
        except listing.TooSlowError:
            page = self._some(request)
        self._show(request, page)

    def _some(self, request: HttpRequest) -> listing.Page:
        """Return what is found first, in no order, when sorting what matches takes too long."""
        self.total = ""
        try:
            with listing.limited():
                files = list(self.queryset.order_by()[: self.list_per_page])
        except listing.TooSlowError:
            files = []
        if files:
            text = gettext("Too many files match: these are some, in no order.")
            messages.warning(request, f"{text} {gettext(NARROWER)}")
        else:
            messages.error(request, f"{gettext('That took too long.')} {gettext(NARROWER)}")
        return listing.Page([], files, None, None)

    def headers(self) -> list[Any]:
        """Return the headers of the columns."""
        return list(result_headers(self))

    def rows(self) -> Iterator[SafeString]:
        """Yield the cells of each file.

        Django's own tag finds out for each cell anew how to show it, in most of a page's time. Here
        a column is a method of the admin.
        """
        names = [name for name in self.list_display if name != "action_checkbox"]
        first, *others = [(name, getattr(self.model_admin, str(name))) for name in names]
        has_actions = len(names) < len(self.list_display)
        filters = f"?{self.preserved_filters}" if self.preserved_filters else ""
        for file in self.result_list:
            box = self.model_admin.action_checkbox(file) if has_actions else ""
            opener = format_html(' data-popup-opener="{}"', file.pk) if self.is_popup else ""
            yield format_html(
                '{}<th class="field-{}" scope="row"><a href="{}/change/{}"{}>{}</a></th>{}',
                format_html('<td class="action-checkbox">{}</td>', box) if box else "",
                first[0],
                file.pk,
                filters,
                opener,
                first[1](file),
                format_html_join(
                    "",
                    '<td class="field-{}">{}</td>',
                    ((name, column(file) or "-") for name, column in others),
                ),
            )

    def _find(self, request: HttpRequest) -> listing.Page:
        if self.is_flat and (self.query or self.has_active_filters):
            try:
                with listing.limited(listing.WALK_SECONDS):
                    return self._page(request)
            except listing.TooSlowError:
                with listing.gathered():
                    return self._page(request)
        with listing.limited():
            return self._page(request)

    def _page(self, request: HttpRequest) -> listing.Page:
        order, descending = self._order()
        page = listing.page(
            self.queryset,
            folder=None if self.is_flat else self.folder,
            order=order,
            descending=descending,
            after=request.GET.get(AFTER_VAR),
            before=request.GET.get(BEFORE_VAR),
            limit=self.list_per_page,
        )
        self.total = self._total(page)
        return page

    def _order(self) -> tuple[listing.Order, bool]:
        """Return what the list is sorted by, and whether it descends."""
        for column, direction in self.get_ordering_field_columns().items():
            if column < len(self.list_display):
                field = self.get_ordering_field(self.list_display[column])
                if field in listing.ORDERS:
                    return field, direction == "desc"
        return "object_key", False

    def _show(self, request: HttpRequest, page: listing.Page) -> None:
        for file in page.files:
            file.shown = file.name if self.is_flat else file.name.removeprefix(self.folder)  # type: ignore[attr-defined]
        self.folders = [trail(folder, self._url)[-1] for folder in page.folders]
        self.trail = trail(self.folder, self._url)
        self.top = self._url("")
        self.search_help_text = (
            gettext("Searches all below “%s”.") % visible(self.folder)
            if self.folder
            else gettext("Searches all keys.")
        )
        self.previous = page.previous and self.get_query_string({BEFORE_VAR: page.previous})
        self.next = page.next and self.get_query_string({AFTER_VAR: page.next})
        self.flat_url = self.get_query_string({BELOW_VAR: 1})
        self.folder_url = self.get_query_string(remove=[BELOW_VAR, SEARCH_VAR, STATE_VAR])
        self.usage_url = self.get_query_string({USAGE_VAR: 1})
        self.usage = self._usage(request) if USAGE_VAR in request.GET else None
        # What Django's own templates and actions look at.
        self.result_list = page.files
        self.result_count = self.full_result_count = len(page.files)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(page.files)
        self.paginator = Paginator(page.files, self.list_per_page)

    def _url(self, folder: str) -> str:
        """Return the address of a folder, with filters and order, from its first page."""
        return self.get_query_string(
            {FOLDER_VAR: folder or None}, remove=[BELOW_VAR, SEARCH_VAR, STATE_VAR, USAGE_VAR]
        )

    def _total(self, page: listing.Page) -> str:
        """Say how much there is: exactly on a single page, by the planner's estimate otherwise."""
        if page.previous is None and page.next is None:
            files = ngettext("%d file", "%d files", len(page.files)) % len(page.files)
            if not page.folders:
                return files
            folders = ngettext("%d folder", "%d folders", len(page.folders)) % len(page.folders)
            return f"{folders}, {files}"
        estimate = max(listing.about(self.queryset), len(page.files))
        rounded = int(float(f"{estimate:.2g}"))
        return gettext("about %(count)s files") % {
            "count": number_format(rounded, force_grouping=True)
        }

    def _usage(self, request: HttpRequest) -> listing.Usage | None:
        """Count everything below the folder, as the filters have it."""
        try:
            with listing.limited():
                return listing.usage(self.filtered.filter(listing.below(self.folder)))
        except listing.TooSlowError:
            messages.error(request, gettext("Counting took too long."))
            return None
