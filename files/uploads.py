"""Uploads by the browser: small ones through Django, large ones straight to S3, in parts.

Nothing is kept here between the requests: what was agreed on goes to the browser and back, signed.
"""

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.base import File as Content
from django.core.files.storage import default_storage
from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from files.keys import validate_object_key, visible
from files.models import File
from files.storage import MAX_PARTS, MAX_TYPE_LENGTH, part_size

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.core.files.uploadedfile import UploadedFile

    from files.storage import ObjectStorage

MIB = 2**20
PART_SIZE = 16 * MIB  # what is larger goes in parts of this size, or larger ones
MAX_AGE = 7 * 24 * 3600  # seconds that an upload may take
MAX_SIZE = MAX_PARTS * 5 * 2**30  # bytes: a part has at most 5 GiB


TAKEN = _("There is a file of this key already.")
IN_TRASH = _(
    "A file of this key is in the trash: restore it, delete it permanently, or choose another key."
)
NO_ROW = _("The bucket has an object of this key that is not in the catalogue: choose another key.")


class Upload(Content):
    """An uploaded content under a key that is not cleaned, as Django does with its name."""

    def __init__(self, uploaded: "UploadedFile", key: str) -> None:
        super().__init__(uploaded.file, key)
        self.content_type = uploaded.content_type


def refuse_taken(key: str) -> None:
    """Raise ValidationError for what is no key or belongs to a file or an object already."""
    validate_object_key(key)
    taken = File.objects.filter(object_key=key).first()
    if taken is not None and taken.deleted_at:
        raise ValidationError(IN_TRASH, "in_trash")
    if taken is not None:
        raise ValidationError(TAKEN, "taken")
    if default_storage.exists(key):
        raise ValidationError(NO_ROW, "object")


class Ticket(NamedTuple):
    """What an upload in parts is about."""

    key: str
    upload_id: str
    size: int
    mark: str
    user: int
    replaces: int | None

    def sign(self) -> str:
        """Return it as text that only this application can have written."""
        return signing.dumps(self, salt="files.uploads")

    @classmethod
    def read(cls, text: str, request: HttpRequest) -> "Ticket":
        """Raises ValidationError for what is none of this user's."""
        try:
            ticket = cls(*signing.loads(text, salt="files.uploads", max_age=MAX_AGE))
        except signing.BadSignature:
            raise ValidationError(gettext("This upload is too old: begin again.")) from None
        if ticket.user != request.user.pk:
            raise PermissionDenied
        return ticket


class Uploads:
    """The addresses that the browser's script asks, each answering in JSON."""

    def __init__(self, admin: "ModelAdmin[File]") -> None:
        self._admin = admin
        self._names = {
            "whole": self._whole,
            "begin": self._begin,
            "sign": self._sign,
            "finish": self._finish,
            "abort": self._abort,
        }

    @property
    def urls(self) -> list[Any]:
        """The routes, for the admin."""
        return [
            path(f"upload/{name}/", self._view(step), name=f"files_file_upload_{name}")
            for name, step in self._names.items()
        ]

    def config(self) -> dict[str, Any]:
        """Return addresses and texts, for the script."""
        return {
            "addresses": {name: reverse(f"admin:files_file_upload_{name}") for name in self._names},
            "texts": {
                "waiting": gettext("waiting"),
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

    def _view(self, step: Callable[[HttpRequest], dict[str, Any]]) -> Any:
        @require_POST
        def view(request: HttpRequest) -> JsonResponse:
            if not self._admin.has_add_permission(request):
                raise PermissionDenied
            try:
                return JsonResponse(step(request))
            except ValidationError as error:
                taken = error.code in {"taken", "in_trash", "object"}
                status, replaceable = 409 if taken else 400, error.code != "object"
                return _refusal(status, error.messages[0], taken=taken, replaceable=replaceable)
            except FileExistsError as error:
                return _refusal(409, f"{error.strerror}.", taken=True)
            except OSError as error:
                return _refusal(502, f"{error.strerror or error}.")
            except (KeyError, TypeError, ValueError):
                return _refusal(400, gettext("The request is not what an upload sends."))

        return self._admin.admin_site.admin_view(view)

    def _whole(self, request: HttpRequest) -> dict[str, Any]:
        """Take a small file."""
        key = str(json.loads(request.POST["key"]))  # a form would change line ends
        content = Upload(cast("UploadedFile", request.FILES["content"]), key)
        replaced = self._target(request, key, replace="replace" in request.POST)
        if replaced is not None:
            replaced.replace(content)
            return self._replaced(request, replaced)
        return self._added(request, File.objects.create(object_key=content))

    def _begin(self, request: HttpRequest) -> dict[str, Any]:
        """Decide how the file goes: whole, to `whole`, or in parts, with a ticket."""
        about = json.loads(request.body)
        key, size = str(about["key"]), int(about["size"])
        replaced = self._target(request, key, replace=bool(about.get("replace")))
        if size <= PART_SIZE or not about.get("direct", True):
            return {"direct": False}
        if size > MAX_SIZE:
            raise ValidationError(gettext("S3 keeps no file of that size."))
        mark = uuid.uuid4().hex
        upload_id = self._storage.begin_upload(key, str(about["type"])[:MAX_TYPE_LENGTH], mark)
        pk = None if replaced is None else replaced.pk
        ticket = Ticket(key, upload_id, size, mark, cast("int", request.user.pk), pk)
        return {"direct": True, "ticket": ticket.sign(), "partSize": part_size(size, PART_SIZE)}

    def _sign(self, request: HttpRequest) -> dict[str, Any]:
        """Allow one part, of one content alone."""
        about = json.loads(request.body)
        ticket = Ticket.read(about["ticket"], request)
        number = int(about["number"])
        if not 1 <= number <= MAX_PARTS:
            raise ValueError(number)
        url, header = self._storage.sign_part(
            ticket.key, ticket.upload_id, number, str(about["digest"])
        )
        return {"url": url, "headers": {header: about["digest"]}}

    def _finish(self, request: HttpRequest) -> dict[str, Any]:
        """Make the object of the parts, and its row when it is what was sent."""
        about = json.loads(request.body)
        ticket = Ticket.read(about["ticket"], request)
        digests = [str(digest) for digest in about["digests"]]
        if ticket.replaces is not None:
            file = self._replaceable(request, ticket.key)
            if file is None or file.pk != ticket.replaces:
                raise ValidationError(gettext("The file has been moved or deleted: begin again."))
            if self._storage.is_marked(ticket.key, ticket.mark):  # the answer to this was lost
                file.revive()
            else:
                with file.replacing() as etag:
                    self._make(ticket, digests, etag)
            return self._replaced(request, file)
        self._make(ticket, digests, None)
        file, is_new = File.objects.get_or_create(
            object_key=ticket.key, defaults=self._storage.stat(ticket.key)._asdict()
        )
        return self._added(request, file) if is_new else _told(file)

    def _make(self, ticket: Ticket, digests: list[str], etag: str | None) -> None:
        self._storage.finish_upload(
            ticket.key,
            ticket.upload_id,
            digests=digests,
            size=ticket.size,
            mark=ticket.mark,
            etag=etag,
        )

    def _abort(self, request: HttpRequest) -> dict[str, Any]:
        ticket = Ticket.read(request.POST["ticket"], request)
        self._storage.abort_upload(ticket.key, ticket.upload_id)
        return {}

    @property
    def _storage(self) -> "ObjectStorage":
        return File().storage

    def _target(self, request: HttpRequest, key: str, *, replace: bool) -> File | None:
        """Return the file to be replaced, None for a new one. Raises ValidationError."""
        file = self._replaceable(request, key) if replace else None
        if file is None:
            refuse_taken(key)
        return file

    def _replaceable(self, request: HttpRequest, key: str) -> File | None:
        if not request.user.has_perm("files.replace_file"):
            raise PermissionDenied
        return File.objects.filter(object_key=key).first()

    def _added(self, request: HttpRequest, file: File) -> dict[str, Any]:
        self._admin.log_addition(request, file, [{"added": {}}])
        return _told(file)

    def _replaced(self, request: HttpRequest, file: File) -> dict[str, Any]:
        text = gettext("Replaced the content; the former one is in the trash.")
        self._admin.log_change(request, file, text)
        return _told(file)


def _told(file: File) -> dict[str, Any]:
    return {
        "key": visible(str(file)),
        "url": reverse("admin:files_file_change", args=[file.pk]),
    }


def _refusal(
    status: int, message: Any, *, taken: bool = False, replaceable: bool = False
) -> JsonResponse:
    """Answer what cannot be; `taken`: by another key it can, `replaceable`: or by replacing."""
    told = {"message": str(message), "taken": taken, "replaceable": taken and replaceable}
    return JsonResponse(told, status=status)
