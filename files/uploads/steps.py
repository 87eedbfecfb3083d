"""The steps of an upload: each takes the user and a request that has been parsed.

What was agreed on goes to the client and back, signed; that an upload is open stands in the table
of the operations under way.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files import access, operations
from files.keys import validate_new_key
from files.models import File, Operation
from files.storage import part_size
from files.uploads.requests import Begin, Finish, Sign, Ticket, Whole

if TYPE_CHECKING:
    from files.storage import ObjectStorage

PART_SIZE = 16 * 2**20  # bytes, or larger ones where S3 would keep too few
MAX_OPEN = 100  # uploads of one user

TAKEN = _("There is a file of this key already.")
IN_TRASH = _(
    "A file of this key is in the trash: restore it, delete it permanently, or choose another key."
)
NO_ROW = _("The bucket has an object of this key that is not in the catalogue: choose another key.")


class Stored(NamedTuple):
    """A file that has been sent, and what came of it."""

    file: File
    action: Literal["added", "replaced", "unchanged"]


def whole(user: Any, asked: Whole) -> Stored:
    """Store a small file."""
    replaced = _target(user, asked.key, replace=asked.replace)
    if replaced is None:
        return Stored(File.objects.create(object_key=asked.content), "added")
    replaced.replace(asked.content)
    return Stored(replaced, "replaced")


def begin(user: Any, asked: Begin) -> dict[str, Any]:
    """Return how the file is to be sent: whole, or in parts with a ticket."""
    replaced = _target(user, asked.key, replace=asked.replace)
    if replaced is not None:  # before the content is sent
        replaced.storage.refuse_archived(asked.key, replaced.storage_class)
    if asked.size <= min(settings.MAX_UPLOAD, PART_SIZE if asked.direct else asked.size):
        return {"direct": False}
    if not asked.direct:
        limit = filesizeformat(settings.MAX_UPLOAD)
        text = gettext("More than %s can be sent from a page with HTTPS alone.") % limit
        raise ValidationError(text, "too_large")
    _refuse_too_many(user)
    size = part_size(asked.size, PART_SIZE)
    operation = operations.begin_upload(asked.key, asked.content_type, str(user))
    ticket = Ticket(
        operation=operation.pk,
        key=asked.key,
        upload_id=operation.upload_id,
        size=asked.size,
        part_size=size,
        mark=operation.mark,
        user=user.pk,
        replaces=None if replaced is None else replaced.pk,
    )
    return {"direct": True, "ticket": ticket.sign(), "partSize": size}


def sign(user: Any, asked: Sign) -> dict[str, Any]:
    """Return where to PUT one part, of one content alone."""
    ticket = _own(user, asked.ticket)
    length = ticket.length_of(asked.number)
    url, header = _storage().sign_part(
        ticket.key, ticket.upload_id, asked.number, asked.digest, length
    )
    return {"url": url, "headers": {header: asked.digest}}


def finish(user: Any, asked: Finish) -> Stored:
    """Make the object of the parts, and its row when it is what was sent.

    Again, as where the answer was lost, it changes nothing.
    """
    ticket = _own(user, asked.ticket)
    operation = Operation.objects.filter(pk=ticket.operation).first()
    if operation is None:
        return Stored(_finished(ticket), "unchanged")
    is_new = ticket.replaces is None
    file = File(object_key=ticket.key) if is_new else _replaced(user, ticket)
    operations.finish_upload(
        operation,
        file,
        digests=asked.digests,
        size=ticket.size,
        part_size=ticket.part_size,
    )
    return Stored(file, "added" if is_new else "replaced")


def abort(user: Any, ticket: Ticket) -> dict[str, Any]:
    """Throw the parts away."""
    _own(user, ticket)
    operation = Operation.objects.filter(pk=ticket.operation).first()
    if operation is not None:
        operations.end(operation)
    return {}


def _finished(ticket: Ticket) -> File:
    """Return the file that the upload has made before. Raises ValidationError."""
    file = File.objects.filter(object_key=ticket.key).first()
    if file is None or not _storage().is_marked(ticket.key, ticket.mark):
        raise ValidationError(gettext("This upload is over: begin again."), "over")
    return file


def _replaced(user: Any, ticket: Ticket) -> File:
    """Return the file that the upload is to replace. Raises PermissionDenied, ValidationError."""
    _require(user, "replace")
    file = File.objects.filter(pk=ticket.replaces or 0, object_key=ticket.key).first()
    if file is None:
        raise ValidationError(gettext("The file has been moved or deleted: begin again."))
    _refuse_trash(user, file)
    return file


def validate_free_key(key: str) -> None:
    """Raise ValidationError for what is no key or belongs to a file or an object already."""
    validate_new_key(key)
    taken = File.objects.filter(object_key=key).first()
    if taken is not None and taken.deleted_at:
        raise ValidationError(IN_TRASH, "in_trash")
    if taken is not None:
        raise ValidationError(TAKEN, "taken")
    if _storage().exists(key) and not operations.is_left_over(key):
        raise ValidationError(NO_ROW, "object")


def _target(user: Any, key: str, *, replace: bool) -> File | None:
    """Return the file to be replaced, None for a new one. Raises ValidationError."""
    _require(user, "add")
    if replace:
        _require(user, "replace")
        file = File.objects.filter(object_key=key).first()
        if file is not None:
            _refuse_trash(user, file)
            return file
    validate_free_key(key)
    return None


def _refuse_too_many(user: Any) -> None:
    """Raise ValidationError where the user has begun many uploads and ended none of them."""
    if Operation.objects.filter(kind=Operation.Kind.UPLOAD, who=str(user)).count() >= MAX_OPEN:
        text = gettext("You have %s unfinished uploads: finish or cancel one first.") % MAX_OPEN
        raise ValidationError(text, "too_many")


def _refuse_trash(user: Any, file: File) -> None:
    """Raise ValidationError for a file in the trash where a replacement would restore it."""
    if file.deleted_at and not access.has_permission(user, "restore"):
        raise ValidationError(IN_TRASH, "in_trash")


def _own(user: Any, ticket: Ticket) -> Ticket:
    """Return the ticket. Raises PermissionDenied for one of another user."""
    _require(user, "add")
    if ticket.user != user.pk:
        raise PermissionDenied
    return ticket


def _require(user: Any, permission: str) -> None:
    if not access.has_permission(user, permission):
        raise PermissionDenied


def _storage() -> "ObjectStorage":
    return File().storage
