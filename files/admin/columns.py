"""How a file is shown: what stands in the columns of the list, and in the fields of its page."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import NaturalTimeFormatter
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from files.admin.places import shown_name
from files.admin.preview import TABLES, TEXT
from files.keys import folder_of, name_of, visible
from files.models import File

_HOUR = 3600
_DAY = 24 * _HOUR
_AGES = [  # in seconds, by what Django calls them
    (365 * _DAY, "year"),
    (30 * _DAY, "month"),
    (7 * _DAY, "week"),
    (_DAY, "day"),
    (_HOUR, "hour"),
    (60, "minute"),
]

_TABLES = TABLES | {
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_ARCHIVES = {
    *(f"application/{name}" for name in ("gzip", "java-archive", "vnd.rar", "zip", "zstd")),
    *(f"application/x-{name}" for name in ("7z-compressed", "bzip2", "gzip", "rar", "tar", "xz")),
}
_DOCUMENTS = {
    *("application/msword", "application/pdf", "application/rtf"),
    "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


class State(NamedTuple):
    """What is to be known of a file before it is used: a word, and what it means and asks for."""

    level: str  # of a message of Django's, whose colours it has
    word: Any
    meaning: Any


STATES = {
    "deleted_at": State(
        "warning",
        _("in the trash"),
        _("This file is in the trash, until somebody restores it or deletes it permanently."),
    ),
    "missing_at": State(
        "error",
        _("missing"),
        _("Missing: put the object back into the bucket, or move this file to the trash."),
    ),
    "damaged_at": State(
        "error",
        _("damaged"),
        _("Damaged: these are not the bytes that were stored; replace them by a good copy."),
    ),
    "changed_at": State(
        "warning",
        _("changed"),
        _("Changed: the bucket has another object of this key. It is shown once S3 answers."),
    ),
    "is_archived": State(
        "warning",
        _("archived"),
        _("Archived: restore it in S3 before you read, rename or replace it."),
    ),
}


def states(file: File) -> list[State]:
    """Return all that is to be known of the file, the most important first."""
    return [state for name, state in STATES.items() if getattr(file, name)]


@lru_cache
def kind(content_type: str) -> str:
    """Return the name of an icon for the type, empty for one that has none."""
    name = content_type.partition(";")[0].lower()
    if name in _TABLES:
        return "table"
    if name in _ARCHIVES:
        return "archive"
    if name in _DOCUMENTS or TEXT.fullmatch(name):
        return "image" if name.startswith("image/") else "text"
    family = name.partition("/")[0]
    return family if family in {"audio", "image", "video"} else ""


def exact(when: datetime) -> str:
    """Return date, time and zone."""
    local = timezone.localtime(when)
    return f"{date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"


def ago(when: datetime) -> SafeString:
    """Return how long ago it was, with the exact time where one points at it.

    By the largest unit alone, which takes a fifth of the time of Django's `naturaltime`.
    """
    age = int((timezone.now() - when).total_seconds())
    for seconds, unit in _AGES:
        if age >= seconds:
            text = _past(unit, age // seconds, get_language())
            break
    else:
        text = gettext("now")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', when.isoformat(), exact(when), text
    )


@lru_cache(1000)
def _past(unit: str, number: int, language: str | None) -> str:
    """Return the time that has passed, in Django's words: each is looked up once."""
    delta = NaturalTimeFormatter.past_substrings[unit] % {"num": number}
    return NaturalTimeFormatter.time_strings["past-day"] % {"delta": delta}


def time_of(name: str) -> Callable[[File], str]:
    """Return a field of the page: a time of the file, as one says it and exactly."""
    field: Any = File._meta.get_field(name)

    @admin.display(description=field.verbose_name)
    def show(file: File) -> str:
        when = getattr(file, name)
        return format_html("{} <small>{}</small>", ago(when), exact(when)) if when else ""

    show.__name__ = name
    return show


def shown_key(key: str) -> str:
    """Return the key as people see it: where it is too long, its folder is cut first."""
    folder, name = folder_of(key), shown_name(name_of(key))
    return _path(folder) + escape(name) if folder else name


@lru_cache(1000)
def _path(folder: str) -> SafeString:
    return format_html('<span class="files-path">{}</span>', visible(folder))


@lru_cache
def _breakable(content_type: str) -> str:
    """Return the type in two lines at most, of which the first may end behind its slash."""
    first, slash, second = content_type.partition("/")
    shown = format_html("{}{}<wbr>{}", first, slash, second)
    return format_html('<span class="files-type" title="{}">{}</span>', content_type, shown)


class FileColumns:
    """The columns of the list. Each must be fast: there are a hundred rows."""

    @admin.display(description=_("key"), ordering="object_key")
    def key(self, file: File) -> str:
        return shown_key(getattr(file, "shown", file.name))

    @admin.display(description=_("type"))
    def type(self, file: File) -> str:
        return file.content_type and _breakable(file.content_type)

    @admin.display(description=_("size"), ordering="size")
    def file_size(self, file: File) -> str:
        return "" if file.size is None else filesizeformat(file.size)

    @admin.display(description=_("modified"), ordering="modified_at")
    def modified(self, file: File) -> str:
        return "" if file.modified_at is None else ago(file.modified_at)

    @admin.display(description=_("in the trash since"), ordering="deleted_at")
    def trashed(self, file: File) -> str:
        return "" if file.deleted_at is None else ago(file.deleted_at)

    @admin.display(description=_("put there by"))
    def trashed_by(self, file: File) -> str:
        return file.deleted_by

    @admin.display(description=_("state"))
    def state(self, file: File) -> str:
        for state in states(file)[:1]:
            return format_html('<span class="files-state {}">{}</span>', state.level, state.word)
        return ""
