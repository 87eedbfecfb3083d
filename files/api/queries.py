"""What may be asked of lists: the parameters of an address, and the files that they choose."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.utils.translation import gettext, gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from files import access, listing
from files.keys import is_folder
from files.models import File, FileQuerySet
from files.tokens import token_of

MAX_SIZE = 2**63 - 1  # bytes, and ids, that PostgreSQL can compare

STATES = {"missing": "missing_at", "changed": "changed_at", "damaged": "damaged_at"}
TRASH = "trash"

ORDERS: dict[str, listing.Order] = {"key": "object_key", "size": "size", "modified": "modified_at"}

Row = TypeVar("Row", bound=Model)


class Cursor(NamedTuple):
    """Where a page begins: behind an entry of the list, or, backwards, before it."""

    entry: str
    is_backward: bool = False

    def encode(self) -> str:
        """Return it as a text that says nothing to programs."""
        text = ("<" if self.is_backward else ">") + self.entry
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


class ExactField(serializers.CharField):
    """A text of which every character counts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)


@extend_schema_field({"type": "string", "pattern": r"^([\s\S]*/)?$"})
class FolderField(ExactField):
    """The beginning of the keys in a folder, with its slash; empty for the top."""

    default_error_messages = {"folder": gettext_lazy("A folder ends in a slash.")}

    def to_internal_value(self, data: Any) -> str:
        """Return the folder. Raises ValidationError for what is none."""
        folder: str = super().to_internal_value(data)
        if not is_folder(folder):
            self.fail("folder")
        return folder


class MomentField(serializers.DateTimeField):
    """A time of which the offset from UTC is said."""

    default_error_messages = {
        "naive": gettext_lazy("A time needs its offset, as in 2026-01-31T12:00:00Z.")
    }

    def enforce_timezone(self, value: datetime) -> datetime:
        """Return the time in UTC. Raises ValidationError for one without an offset."""
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)


class CursorField(serializers.CharField):
    """A cursor, as `next` and `previous` have it."""

    default_error_messages = {
        "cursor": gettext_lazy("This is no cursor of this list: begin at its first page.")
    }

    def to_internal_value(self, data: Any) -> Any:
        """Return the cursor. Raises ValidationError."""
        text: str = super().to_internal_value(data)
        try:
            found = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        except ValueError:
            self.fail("cursor")
        if found[:1] not in {"<", ">"}:
            self.fail("cursor")
        return Cursor(found[1:], is_backward=found[0] == "<")


class Query(serializers.Serializer):
    """Parameters, none of which may be another one: what is misspelt would choose too much."""

    def to_internal_value(self, data: Any) -> Any:
        """Return what each says. Raises ValidationError."""
        unknown = data.keys() - self.fields.keys()
        if unknown:
            text = gettext("There is no such parameter here.")
            raise serializers.ValidationError({name: [text] for name in sorted(unknown)})
        return super().to_internal_value(data)


class FolderQuery(Query):
    """A folder."""

    folder = FolderField(
        required=False,
        allow_blank=True,
        help_text="How the keys begin, such as `reports/`; empty is the top. Without it, the folder"
        " that the token is for.",
    )


class FilterQuery(FolderQuery):
    """Which files, of all below a folder."""

    q = serializers.CharField(
        required=False, max_length=1024, help_text="Words that the keys contain, in either case."
    )
    key = ExactField(required=False, help_text="The key, exact to the byte.")
    type = ExactField(
        required=False, help_text="How the media type begins, such as `image/` or `text/plain`."
    )
    min_size = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_SIZE, help_text="Bytes at least."
    )
    max_size = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_SIZE, help_text="Bytes at most."
    )
    modified_since = MomentField(required=False, help_text="Modified then or later.")
    modified_before = MomentField(required=False, help_text="Modified earlier than that.")
    state = serializers.ChoiceField(
        required=False,
        choices=[*STATES, TRASH],
        help_text="What was found so in the bucket; or the trash, for those who may restore or"
        " purge.",
    )


class FilesQuery(FilterQuery):
    """Which page of which files, in which order. All that filters makes the list one of `below`."""

    below = serializers.BooleanField(
        default=False, help_text="All below the folder, and not by folders."
    )
    order = serializers.ChoiceField(
        default="key",
        choices=[sign + name for name in ORDERS for sign in ("", "-")],
        help_text="By key, size or time of modification; with `-` the last comes first.",
    )
    limit = serializers.IntegerField(
        default=100, min_value=1, max_value=1000, help_text="How many entries a page has."
    )
    cursor = CursorField(required=False, help_text="As `next` and `previous` have it.")


class NewestQuery(Query):
    """Which page of what has ids that rise."""

    limit = serializers.IntegerField(default=20, min_value=1, max_value=100)
    before = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_SIZE, help_text="Of lower ids than this one."
    )


def asked(request: Request, query: type[Query]) -> dict[str, Any]:
    """Return what the address asks for. Raises ValidationError with the name of a parameter."""
    found = query(data=request.query_params.dict())
    found.is_valid(raise_exception=True)
    return dict(found.validated_data)


def newest(
    request: Request, rows: QuerySet[Row], wanted: dict[str, Any]
) -> tuple[list[Row], str | None]:
    """Return a page of rows, the newest first, and the address of the next one."""
    if "before" in wanted:
        rows = rows.filter(pk__lt=wanted["before"])
    with listing.time_limit():
        found = list(rows.order_by("-pk")[: wanted["limit"] + 1])
    page = found[: wanted["limit"]]
    more = len(found) > len(page)
    return page, address(request, before=str(page[-1].pk)) if more else None


def address(request: Request, **changes: str) -> str:
    """Return the address of the request with other parameters."""
    query = request.query_params.copy()
    for name, value in changes.items():
        query[name] = value
    return str(request.build_absolute_uri(f"{request.path}?{query.urlencode()}"))


def folder_of(user: Any, wanted: dict[str, Any]) -> str:
    """Return the folder that is asked for, or else what the user's token is for."""
    token = token_of(user)
    return str(wanted.get("folder", "" if token is None else token.prefix))


def files_below(user: Any, wanted: dict[str, Any]) -> FileQuerySet:
    """Return those of the files that the filters choose, of all below the folder.

    Raises PermissionDenied for the trash, where the user may not see it.
    """
    folder = folder_of(user, wanted)
    files = _of_state(user, folder, wanted.get("state"))
    if "q" in wanted:
        found = listing.search(files, wanted["q"], in_trash=wanted.get("state") == TRASH)
        files = cast("FileQuerySet", found)
    for name, narrow in FILTERS.items():
        if name in wanted:
            files = narrow(files, wanted[name])
    return files if access.is_within(user, folder) else files.none()


def _of_state(user: Any, folder: str, state: str | None) -> FileQuerySet:
    files = access.readable(user, File.objects.all())
    if state == TRASH:
        if not access.may_see_trash(user):
            raise PermissionDenied
        return access.trashed_below(files, folder)
    if state:
        files = files.filter(**{f"{STATES[state]}__isnull": False})
    return files.live().below(folder)


def _by_size(files: Any, **bound: int) -> Any:
    known = {f"known_size__{name}": size for name, size in bound.items()}
    return files.alias(known_size=listing.ORDERS["size"][0]).filter(size__isnull=False, **known)


def _by_time(files: Any, **bound: datetime) -> Any:
    known = {f"known_time__{name}": moment for name, moment in bound.items()}
    return files.alias(known_time=listing.ORDERS["modified_at"][0]).filter(**known)


# What narrows a list beside state and search, by the names of the parameters.
FILTERS: dict[str, Callable[[Any, Any], Any]] = {
    "key": lambda files, key: files.filter(object_key=key),
    "type": lambda files, kind: files.filter(content_type__startswith=kind),
    "min_size": lambda files, size: _by_size(files, gte=size),
    "max_size": lambda files, size: _by_size(files, lte=size),
    "modified_since": lambda files, moment: _by_time(files, gte=moment),
    "modified_before": lambda files, moment: _by_time(files, lt=moment),
}
