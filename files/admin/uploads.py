"""Uploads on the list of files: what the script needs to know. It asks the API."""

from typing import Any

from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext

from files.uploads import MAX_AGE

ADDRESSES = {
    "files": "api:files",
    "begin": "api:uploads",
    "parts": "api:upload_parts",
    "state": "api:upload_state",
    "finish": "api:upload_finish",
    "abort": "api:upload_abort",
}
UNITS = [1, 0, *(1024**power for power in range(1, 6))]  # a size of each unit, one byte first


def script_config(user: Any, folder: str) -> dict[str, Any]:
    """Return what the script needs to know: addresses, texts, its user, and the folder shown."""
    return {
        "addresses": {name: reverse(address) for name, address in ADDRESSES.items()},
        "page": reverse("admin:files_file_change", args=[0]),  # of a file, with its id for the 0
        "cookie": settings.CSRF_COOKIE_NAME,
        "folder": folder,
        "user": user.pk,
        "maxAge": MAX_AGE,
        "units": [filesizeformat(size).split("\xa0")[-1] for size in UNITS],
        "texts": _states() | _choices() | _messages(),
    }


def _states() -> dict[str, str]:
    return {
        "waiting": gettext("waiting"),
        "paused": gettext("paused"),
        "storing": gettext("being stored"),
        "done": gettext("done"),
        "canceled": gettext("canceled"),
        "skipped": gettext("skipped"),
        "unfinished": gettext("%(sent)s of %(size)s are there."),
    }


def _choices() -> dict[str, str]:
    return {
        "cancel": gettext("Cancel"),
        "pause": gettext("Pause"),
        "resume": gettext("Resume"),
        "retry": gettext("Try again"),
        "goOn": gettext("Go on"),
        "choose": gettext("Choose it again"),
        "replace": gettext("Replace"),
        "keep": gettext("Keep both"),
        "skip": gettext("Skip"),
        "rename": gettext("Another key"),
        "replaceAll": gettext("Replace all"),
        "keepAll": gettext("Keep both for all"),
        "skipAll": gettext("Skip all"),
    }


def _messages() -> dict[str, str]:
    return {
        "key": gettext("The key to keep it under:"),
        "total": gettext("%(sent)s of %(size)s, files: %(done)s of %(files)s"),
        "speed": gettext("%(size)s/s"),
        "left": gettext("%(time)s left"),
        "more": gettext("More that are not shown: %(number)s."),
        "uploaded": gettext("Uploaded files: %(number)s."),
        "notUploaded": gettext("Failed: %(number)s."),
        "notWanted": gettext("Skipped files: %(number)s."),
        "givenUp": gettext("Canceled: %(number)s."),
        "stopped": gettext("Paused: %(number)s."),
        "taken": gettext("Keys that are taken: %(number)s."),
        "broken": gettext("Unfinished uploads: %(number)s."),
        "leftOut": gettext("Left out, as systems make them in each folder: %(names)s."),
        "inTrash": gettext("A file of this key is in the trash."),
        "show": gettext("Show that file"),
        "failed": gettext("The upload failed."),
        "lost": gettext("The connection was lost."),
        "later": gettext("It is tried again in a moment."),
        "unread": gettext("The file was changed or removed: choose it again."),
        "comparing": gettext("What is there is compared with the file."),
        "sentAgain": gettext("All of it is sent again, whatever you choose."),
        "anew": gettext("What had been sent is gone: it begins anew."),
        "other": gettext("This is another file than the one that was begun: choose that one."),
        "elsewhere": gettext("Another tab sends this file."),
        "ended": gettext("It has ended in another tab."),
        "loggedOut": gettext(
            "You are logged out, or somebody else is logged in: log in elsewhere."
        ),
        "unreadable": gettext("Some of what was dropped cannot be read."),
    }
