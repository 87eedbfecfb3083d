"""The list of files in the admin: folders, filters, pages by cursor."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from files import access, listing
from files.admin.columns import kind
from files.admin.filters import STATE_VAR, is_trash
from files.admin.places import shown_name, trail
from files.keys import as_folder, brief, folder_name, validate_object_key, visible
from files.models import File, FileQuerySet

FOLDER_VAR = "folder"
BELOW_VAR = "below"
AFTER_VAR = "after"
BEFORE_VAR = "before"
USAGE_VAR = "usage"
SORTED_VAR = "sorted"
OF_THIS_PAGE = (AFTER_VAR, BEFORE_VAR, SORTED_VAR)  # no other link keeps them

_SOME = _("Too many files match: these are some, in no order.")
_TOO_LONG = _("That took too long.")
_NARROWER = _("Search for more letters, or below a folder.")


def number(value: int) -> str:
    """Return the number with separators between its thousands."""
    return number_format(value, force_grouping=True)


class FileChangeList(ChangeList):
    """A folder with its folders and files, or everything below it."""

    is_sorted = True
    sorted_url = ""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.title = self._title()

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        own = {FOLDER_VAR, BELOW_VAR, USAGE_VAR}
        params = super().get_filters_params(params)
        return {name: value for name, value in params.items() if name not in own}

    def get_filters(self, request: HttpRequest) -> Any:
        """Allow no lookups but the filters' own, where Django allows any on the model's fields."""
        allowed = {getattr(list_filter, "parameter_name", None) for list_filter in self.list_filter}
        for name in self.get_filters_params():
            if name not in allowed:
                raise IncorrectLookupParameters(name)
        return super().get_filters(request)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        for name in OF_THIS_PAGE:
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        self.folder = _folder(request)
        self.in_trash = is_trash(request)
        self.is_allowed = not self.in_trash or access.may_see_trash(request.user)
        found = super().get_queryset(request, exclude_parameters)
        self.filtered = cast("FileQuerySet", found)
        self.is_narrowed = bool(self.query or self.has_active_filters)
        self.is_flat = self.is_narrowed or BELOW_VAR in request.GET
        if self.is_flat:
            return self._below()
        return listing.inside(self.filtered, self.folder)

    def _below(self) -> FileQuerySet:
        """Return what the filters let through of all below the folder, or what was there."""
        if self.in_trash:
            return access.trashed_below(self.filtered, self.folder)
        return self.filtered.below(self.folder)

    def _get_default_ordering(self) -> Any:
        """Let the header of the column show it, too."""
        ordering: Any = super()._get_default_ordering()  # type: ignore[misc]
        return ["-deleted_at"] if self.in_trash else ordering

    def get_results(self, request: HttpRequest) -> None:
        try:
            page = self._sorted_page(request)
        except listing.CursorError as error:
            raise IncorrectLookupParameters(error) from error
        except listing.TooSlowError:
            self.total = ""
            page = self._unsorted_page(request)
        self._set_files(page.files)
        self._set_folders(page.folders)
        self._set_links(page)
        self.nothing = self._nothing(request)
        self.usage = self._usage(request) if USAGE_VAR in request.GET else None
        if self.usage and self.usage.complete and self.is_flat:
            self.total = _files(self.usage.files)

    def get_ordering_field_columns(self) -> dict[int, Any]:
        """Let no header tell that it sorts what is in no order."""
        return super().get_ordering_field_columns() if self.is_sorted else {}

    def headers(self) -> list[Any]:
        """Return the headers of the columns."""
        return list(result_headers(self))

    def rows(self) -> Iterator[SafeString]:
        """Yield the cells of each file.

        Django's own tag finds out for each cell again how to show it, in most of a page's time.
        Here a column is a method of the admin.
        """
        names = [name for name in self.list_display if name != "action_checkbox"]
        has_actions = len(names) < len(self.list_display)
        columns = [(name, getattr(self.model_admin, str(name))) for name in names]
        filters = f"?{self.preserved_filters}" if self.preserved_filters else ""
        for file in self.result_list:
            box = self.model_admin.action_checkbox(file) if has_actions else ""
            yield self._row(file, box, columns, filters)

    def _row(self, file: File, box: str, columns: list[Any], filters: str) -> SafeString:
        (first, link_text), *others = columns
        opener = format_html(' data-popup-opener="{}"', file.pk) if self.is_popup else ""
        return format_html(
            '{}<th class="field-{}" scope="row">'
            '<a href="{}/change/{}"{} data-kind="{}">{}</a></th>{}',
            format_html('<td class="action-checkbox">{}</td>', box) if box else "",
            first,
            file.pk,
            filters,
            opener,
            kind(file.content_type),
            link_text(file),
            format_html_join(
                "",
                '<td class="field-{}">{}</td>',
                ((name, column(file) or "-") for name, column in others),
            ),
        )

    def _title(self) -> str:
        """Return the place, and what is searched there: for the heading and the browser's tab."""
        place: str = self.trail[-1][0]
        if not self.query:
            return place
        about = {"text": visible(self.query), "place": place}
        return gettext("“%(text)s” in %(place)s") % about

    def _nothing(self, request: HttpRequest) -> str:
        """Return what to say where the list is empty."""
        if not self.is_allowed:
            return gettext("You may not see the trash: ask an administrator for the permission.")
        narrowing = {SEARCH_VAR, *self._filters()} - ({STATE_VAR} if self.in_trash else set())
        if any(map(request.GET.get, narrowing)):
            return gettext("No file matches.")
        if self.in_trash and self.folder:
            return gettext("Nothing that was below this folder is in the trash.")
        if self.in_trash:
            return gettext("The trash is empty.")
        if self.folder:
            return gettext("No file is here, so this folder does not exist: the first makes it.")
        return gettext("Nothing is here yet.")

    def _sorted_page(self, request: HttpRequest) -> listing.Page:
        find = partial(self._page, request)
        if request.GET.keys() & {AFTER_VAR, BEFORE_VAR}:
            return listing.in_time(find, is_filtered=self.is_narrowed)
        if self.is_narrowed and SORTED_VAR in request.GET:
            with listing.bitmap_scans():
                return find()
        return listing.in_time(find, is_filtered=self.is_narrowed, instead=self._first_found)

    def _first_found(self) -> listing.Page | None:
        """Return a page in no order, with a way to a sorted one, when very many files match."""
        expected = listing.estimate(self.queryset)
        if expected < listing.MANY:
            return None
        files = listing.some(self.queryset, expected, self.list_per_page)
        if not files:
            return None
        self.is_sorted = False
        self.sorted_url = self.get_query_string({SORTED_VAR: 1})
        self.total = _about(expected, len(files))
        return listing.Page([], files, None, None)

    def _unsorted_page(self, request: HttpRequest) -> listing.Page:
        """Return the first files found, when sorting all that match takes too long."""
        self.is_sorted = False
        try:
            with listing.time_limit(2):
                files = list(self.queryset.order_by()[: self.list_per_page])
        except listing.TooSlowError:
            files = []
        level, text = (messages.WARNING, _SOME) if files else (messages.ERROR, _TOO_LONG)
        if not request.headers.get("X-Requested-With"):  # a script shows the list alone
            messages.add_message(request, level, f"{text} {_NARROWER}")
        return listing.Page([], files, None, None)

    def _page(self, request: HttpRequest) -> listing.Page:
        order, descending = self._order()
        find = partial(
            listing.page,
            self.queryset,
            folder=None if self.is_flat else self.folder,
            order=order,
            descending=descending,
            limit=self.list_per_page,
        )
        page = find(after=request.GET.get(AFTER_VAR), before=request.GET.get(BEFORE_VAR))
        if AFTER_VAR in request.GET and not (page.folders or page.files):  # they have gone
            page = find(before="")
        self.total = self._total(page)
        return page

    def _order(self) -> tuple[listing.Order, bool]:
        """Return what the list is sorted by, and whether it descends."""
        for column, direction in self.get_ordering_field_columns().items():
            if column < len(self.list_display):
                field = self.get_ordering_field(self.list_display[column])
                if field in listing.ORDERS:
                    return field, direction == "desc"
        return ("deleted_at", True) if self.in_trash else ("object_key", False)

    def _set_files(self, files: list[File]) -> None:
        """Set what Django's own templates and actions look at."""
        for file in files:
            file.shown = file.name if self.is_flat else file.name.removeprefix(self.folder)  # type: ignore[attr-defined]
        self.result_list = files
        self.result_count = self.full_result_count = len(files)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(files)
        self.paginator = Paginator(files, self.list_per_page)

    def _set_folders(self, folders: list[str]) -> None:
        self.folders = [
            (f"{shown_name(folder_name(folder))}/", self._url(folder)) for folder in folders
        ]
        trash = [(gettext("Trash"), "")] if self.in_trash else []
        self.trail = trail(self.folder, *trash, url=self._url)
        self.search_help_text = (
            gettext("Searches all below “%s”.") % brief(self.folder)
            if self.folder
            else gettext("Searches all keys.")
        )

    def _set_links(self, page: listing.Page) -> None:
        self.previous = page.previous and self.get_query_string({BEFORE_VAR: page.previous})
        self.next = page.next and self.get_query_string({AFTER_VAR: page.next})
        self.flat_url = self.get_query_string({BELOW_VAR: 1})
        self.folder_url = self.get_query_string(remove=[BELOW_VAR, SEARCH_VAR, *self._filters()])
        self.trash_url = self.get_query_string(remove=[FOLDER_VAR])
        self.usage_url = self.get_query_string({USAGE_VAR: 1})

    def _filters(self) -> list[str]:
        """Return the names of the filters' parameters."""
        return [str(name) for each in self.filter_specs for name in each.expected_parameters()]

    def _url(self, folder: str) -> str:
        """Return the address of a folder, with filters and order, from its first page."""
        return self.get_query_string(
            {FOLDER_VAR: folder or None}, remove=[BELOW_VAR, SEARCH_VAR, STATE_VAR, USAGE_VAR]
        )

    def _total(self, page: listing.Page) -> str:
        """Return how many folders and files there are: where these are many, about how many."""
        if not self.is_allowed:
            return ""
        folders, files = self._counts(page)
        parts = [_folders(folders)] if folders else []
        if files is None or files > listing.COUNTED:
            before = self.list_per_page if page.previous else 0
            known = min(files or before + len(page.files), listing.COUNTED)
            # Of a folder itself the planner knows nothing.
            expected = listing.estimate(self.queryset) if self.is_flat else 0
            parts.append(_about(expected, known))
        elif files or not parts:
            parts.append(_files(files))
        return ", ".join(parts)

    def _counts(self, page: listing.Page) -> tuple[int, int | None]:
        """Return how many folders and files there are, each up to one over `listing.COUNTED`.

        None stands for files that a search or a filter would have to find for that.
        """
        if page.previous is None and page.next is None:
            return len(page.folders), len(page.files)
        if self.is_narrowed:
            return 0, None
        if self.is_flat:
            return 0, listing.count(self.queryset)
        return listing.count_inside(self.folder)

    def _usage(self, request: HttpRequest) -> listing.Usage | None:
        """Count everything below the folder, as the filters have it."""
        try:
            with listing.time_limit():
                return listing.usage(self._below())
        except listing.TooSlowError:
            messages.error(request, gettext("Counting took too long."))
            return None


def _folders(count: int) -> str:
    if count > listing.COUNTED:
        many = ngettext("more than %s folder", "more than %s folders", listing.COUNTED)
        return many % number(listing.COUNTED)
    return ngettext("%s folder", "%s folders", count) % number(count)


def _files(count: int) -> str:
    return ngettext("%s file", "%s files", count) % number(count)


def _about(expected: int, known: int) -> str:
    """Return what the planner expects, or else that there are more than are known."""
    if expected <= known:
        return ngettext("more than %s file", "more than %s files", known) % number(known)
    rounded = int(float(f"{expected:.2g}"))
    return ngettext("about %s file", "about %s files", rounded) % number(rounded)


def _folder(request: HttpRequest) -> str:
    """Return the folder that is asked for. Raises IncorrectLookupParameters for what is none."""
    folder = as_folder(request.GET.get(FOLDER_VAR, ""))
    try:
        if folder:
            validate_object_key(folder)
    except ValidationError as error:
        raise IncorrectLookupParameters(error) from error
    return folder
