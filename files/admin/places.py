"""Where the pages of the admin are: their addresses, and the way to them from the top."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext

from files import changes
from files.keys import folder_name, folder_of, folders_to, name_of, visible
from files.models import File

Step = tuple[Any, str]  # name and address


def list_url(folder: str = "", **filters: str) -> str:
    """Return the address of the list of a folder, or of what the filters let through."""
    query = {"folder": folder} | filters if folder else filters
    return reverse("admin:files_file_changelist", query=query or None)


def file_url(file: File) -> str:
    """Return the address of the file's page."""
    return reverse("admin:files_file_change", args=[file.pk])


def leading(error: ValidationError, user: Any) -> ValidationError:
    """Return an error that leads to the file that has the key, if the user may see it."""
    pk = changes.holder(error, user)
    if pk is None:
        return error
    url = reverse("admin:files_file_change", args=[pk])
    link = format_html('{} <a href="{}">{}</a>', error.messages[0], url, gettext("Show that file"))
    return ValidationError(link, error.code)


def shown_name(name: str) -> str:
    """Return the name of a file or folder as people see it, which is never empty."""
    return visible(name) or gettext("(no name)")


def trail(folder: str, *further: Step, url: Callable[[str], str] = list_url) -> list[Step]:
    """Return the steps from the top down to a folder, and what follows it."""
    folders = ((f"{shown_name(folder_name(step))}/", url(step)) for step in folders_to(folder))
    return [(gettext("All files"), url("")), *folders, *further]


def trail_to(file: File, *further: Step) -> list[Step]:
    """Return the steps from the top down to a file, and what follows it."""
    step = (shown_name(name_of(file.name)), file_url(file))
    if file.deleted_at:
        return trail("", (gettext("Trash"), list_url(state="trash")), step, *further)
    return trail(folder_of(file.name), step, *further)
