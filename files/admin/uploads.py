"""Uploads on the list of files: their addresses, their log, and what the script needs to know."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.translation import gettext

from files import uploads
from files.admin.changes import REPLACED, FileChanges, file_url, list_url
from files.admin.works import AnsweredError
from files.keys import folder_of, visible
from files.models import Work

STEPS = ["whole", "begin", "sign", "finish", "abort"]


def urls(model_admin: FileChanges) -> list[Any]:
    """Return the routes that the script asks."""

    def describe(request: HttpRequest, stored: uploads.Stored) -> dict[str, Any]:
        _log(model_admin, request, stored)
        return {"key": visible(str(stored.file)), "url": file_url(stored.file)}

    def finish(
        request: HttpRequest, key: str, step: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        def work_on(work: Work) -> None:
            answer.update(step())
            work.tell(gettext("Uploaded %s.") % visible(key))

        answer: dict[str, Any] = {}
        title, url = gettext("Upload: %s") % visible(key), list_url(folder_of(key))
        try:
            model_admin.do_work(request, title, work_on, url=url)
        except AnsweredError as answered:
            return {"work": answered.url}
        return answer

    views = uploads.json_views(describe, finish)
    return [
        path(
            f"upload/{name}/",
            model_admin.admin_site.admin_view(views[name]),
            name=f"files_file_upload_{name}",
        )
        for name in STEPS
    ]


def _log(model_admin: FileChanges, request: HttpRequest, stored: uploads.Stored) -> None:
    if stored.action == "added":
        model_admin.log_addition(request, stored.file, [{"added": {}}])
    elif stored.action == "replaced":
        model_admin.log_change(request, stored.file, str(REPLACED))


def script_config(folder: str) -> dict[str, Any]:
    """Return what the script needs to know: addresses, texts, and the folder shown."""
    return {
        "addresses": {name: reverse(f"admin:files_file_upload_{name}") for name in STEPS},
        "folder": folder,
        "texts": {
            "waiting": gettext("waiting"),
            "storing": gettext("being stored"),
            "done": gettext("done"),
            "canceled": gettext("canceled"),
            "failed": gettext("The upload failed."),
            "cancel": gettext("Cancel"),
            "retry": gettext("Try again"),
            "replace": gettext("Replace"),
            "rename": gettext("Another key"),
            "key": gettext("The key to keep it under:"),
            "uploaded": gettext("Uploaded files:"),
            "loggedOut": gettext("You are logged out: log in in another tab and try again."),
            "unreadable": gettext("Some of what was dropped cannot be read."),
            "refresh": gettext("Show them in the list"),
        },
    }
