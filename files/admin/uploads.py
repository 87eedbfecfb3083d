"""Uploads on the list of files: what the script needs to know. It asks the API."""

from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext

ADDRESSES = {
    "files": "api:files",
    "begin": "api:uploads",
    "parts": "api:upload_parts",
    "finish": "api:upload_finish",
    "abort": "api:upload_abort",
}


def script_config(folder: str) -> dict[str, Any]:
    """Return what the script needs to know: addresses, texts, and the folder shown."""
    return {
        "addresses": {name: reverse(address) for name, address in ADDRESSES.items()},
        "page": reverse("admin:files_file_change", args=[0]),  # of a file, with its id for the 0
        "cookie": settings.CSRF_COOKIE_NAME,
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
