"""The filters of the list of files."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from files import access, listing
from files.models import File

STATE_VAR = "state"
MIB = 2**20


class TypeFilter(admin.SimpleListFilter):
    """By the kind of content."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("text/", _("Text")),
            ("image/", _("Image")),
            ("audio/", _("Audio")),
            ("video/", _("Video")),
            ("application/pdf", "PDF"),
            ("application/", _("Application")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        kind = self.value() or ""
        if "\0" in kind:
            raise IncorrectLookupParameters(kind)
        return queryset.filter(content_type__startswith=kind) if kind else queryset


class SizeFilter(admin.SimpleListFilter):
    """By the number of bytes."""

    title = _("size")
    parameter_name = "size"
    bounds = {
        "empty": (0, 0),
        "small": (1, MIB - 1),
        "medium": (MIB, 100 * MIB - 1),
        "large": (100 * MIB, 2**63 - 1),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("empty", _("Empty")),
            ("small", _("Less than 1 MB")),
            ("medium", _("1 MB to 100 MB")),
            ("large", _("100 MB and more")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        name = self.value()
        if not name:
            return queryset
        if name not in self.bounds:
            raise IncorrectLookupParameters(name)
        return queryset.alias(known=listing.ORDERS["size"][0]).filter(
            known__range=self.bounds[name], size__isnull=False
        )


class StateFilter(admin.SimpleListFilter):
    """Live files, those whose object is missing or another one, and the trash."""

    title = _("state")
    parameter_name = STATE_VAR
    columns = {"missing": "missing_at", "changed": "changed_at", "damaged": "damaged_at"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        states = [
            ("missing", _("Missing from the bucket")),
            ("changed", _("Changed in the bucket")),
            ("damaged", _("Damaged")),
        ]
        if access.may_see_trash(request.user):
            states.append(("trash", _("In the trash")))
        return states

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        state = self.value()
        if state == "trash":
            return queryset.trashed()  # type: ignore[attr-defined,no-any-return]
        if state and state not in self.columns:
            raise IncorrectLookupParameters(state)
        if state:
            queryset = queryset.filter(**{f"{self.columns[state]}__isnull": False})
        return queryset.live()  # type: ignore[attr-defined,no-any-return]


def is_trash(request: HttpRequest) -> bool:
    """Return whether the request is for the list of the trash."""
    return request.GET.get(STATE_VAR) == "trash"
