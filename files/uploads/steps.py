"""The steps of an upload: each takes the user and a request that has been parsed.

What was agreed on goes to the client and back, signed; that an upload is open stands in the table
of the operations under way.
"""

import errno
import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext

from files import access, changes, operations
from files.models import File, Operation
from files.storage import SentPart, part_size
from files.storage.checksums import SHA256
from files.uploads.requests import Begin, Finish, Sign, Ticket, Upload

logger = logging.getLogger(__name__)

PART_SIZE = 16 * 2**20  # bytes, or larger ones where S3 would keep too few
MAX_OPEN = 100  # uploads of one user
LEFT = timedelta(days=1)  # after which an upload is ended where there are so many


def whole(user: Any, key: str, content: Upload, *, replace: bool) -> File:
    """Store a small file.

    Again, as where the answer was lost, it changes nothing.
    """
    access.require(user, "add", key)
    replaced = _replaceable(user, key) if replace else None
    if replaced is not None:
        changes.replace(user, replaced, content)
        return replaced
    try:
        file = File.objects.create(object_key=content)
    except FileExistsError:
        return _stored(key, content)
    changes.note_new(user, file)
    return file


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
    _make_room(user)
    size = part_size(asked.size, PART_SIZE)
    operation = operations.begin_upload(asked.key, asked.content_type, _who(user))
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
    return {"direct": True, "ticket": ticket.sign(), "part_size": size}


def sign(user: Any, asked: Sign) -> dict[str, Any]:
    """Return where to PUT one part, of one content alone."""
    ticket = _own(user, asked.ticket)
    length = ticket.length_of(asked.number)
    url, header = File().storage.sign_part(
        ticket.key, ticket.upload_id, asked.number, asked.digest, length
    )
    return {"url": url, "headers": {header: asked.digest}}


def state(user: Any, ticket: Ticket) -> dict[str, Any]:
    """Return the parts that have been sent: number, size, and SHA-256 where S3 lists it.

    Raises ValidationError for an upload that is over.
    """
    ticket = _own(user, ticket)
    parts = None
    if Operation.objects.filter(pk=ticket.operation).exists():
        parts = File().storage.sent_parts(ticket.key, ticket.upload_id)
    if parts is None:  # S3 ends uploads too, by a rule of the bucket
        raise _over()
    return {"parts": [_told(part) for part in parts]}


def finish(user: Any, asked: Finish) -> File:
    """Make the object of the parts, and its row when it is what was sent.

    Again, as where the answer was lost, it changes nothing.
    """
    ticket = _own(user, asked.ticket)
    operation = Operation.objects.filter(pk=ticket.operation).first()
    if operation is None:
        return _finished(ticket)
    is_new = ticket.replaces is None
    file = File(object_key=ticket.key) if is_new else _replaced(user, ticket)
    since = timezone.now()
    try:
        operations.finish_upload(
            operation,
            file,
            digests=asked.digests,
            size=ticket.size,
            part_size=ticket.part_size,
        )
    except FileExistsError:
        changes.validate_free_key(ticket.key)  # which says by what it is taken
        raise
    if is_new:
        changes.note_new(user, file)
    else:
        changes.note_replaced(user, file, since)
    return file


def abort(user: Any, ticket: Ticket) -> None:
    """Throw the parts away."""
    _own(user, ticket)
    operation = Operation.objects.filter(pk=ticket.operation).first()
    if operation is not None:
        operations.end(operation)


def _stored(key: str, content: Upload) -> File:
    """Return the file that has this content already, in its row and in the bucket.

    Raises ValidationError, which says what the key is taken by, or FileExistsError.
    """
    file = File.objects.live().filter(object_key=key).first()
    checksum = SHA256 + content.sha256()
    if file is not None and file.checksum == checksum:
        file.refresh_from_storage()
        if file.checksum == checksum and not file.missing_at:
            return file
    changes.validate_free_key(key)
    text = gettext("There is a file or an object of this key")
    raise FileExistsError(errno.EEXIST, text, key)


def _finished(ticket: Ticket) -> File:
    """Return the file that the upload has made before. Raises ValidationError."""
    file = File.objects.filter(object_key=ticket.key).first()
    if file is None or not File().storage.is_marked(ticket.key, ticket.mark):
        raise _over()
    return file


def _told(part: SentPart) -> dict[str, Any]:
    told = part._asdict()
    return told if part.sha256 else {"number": part.number, "size": part.size}


def _over() -> ValidationError:
    return ValidationError(gettext("This upload is over: begin again."), "over")


def _replaced(user: Any, ticket: Ticket) -> File:
    """Return the file that the upload is to replace. Raises PermissionDenied, ValidationError."""
    access.require(user, "replace", ticket.key)
    file = File.objects.filter(pk=ticket.replaces or 0, object_key=ticket.key).first()
    if file is None:
        raise ValidationError(gettext("The file has been moved or deleted: begin again."))
    _refuse_trash(user, file)
    return file


def _target(user: Any, key: str, *, replace: bool) -> File | None:
    """Return the file to be replaced, None for a new one. Raises ValidationError."""
    access.require(user, "add", key)
    file = _replaceable(user, key) if replace else None
    if file is None:
        changes.validate_free_key(key)
    return file


def _replaceable(user: Any, key: str) -> File | None:
    """Return the file of this key, None where there is none. Raises ValidationError."""
    access.require(user, "replace", key)
    file = File.objects.filter(object_key=key).first()
    if file is not None:
        _refuse_trash(user, file)
    return file


def _make_room(user: Any) -> None:
    """End the oldest of the user's uploads where there are many: it may be of a lost browser.

    Raises ValidationError where all of them are newer than that.
    """
    begun = Operation.objects.filter(kind=Operation.Kind.UPLOAD, who=_who(user))
    if begun.count() < MAX_OPEN:
        return
    oldest = begun.filter(started_at__lt=timezone.now() - LEFT).order_by("started_at").first()
    if oldest is None:
        text = gettext("You have %s unfinished uploads: finish or cancel one first.") % MAX_OPEN
        raise ValidationError(text, "too_many")
    try:
        operations.end(oldest)
    except OSError as error:  # S3 does not; or somebody else does, at this moment
        logger.warning("The upload of %r is not ended: %s", oldest.object_key, error)


def _who(user: Any) -> str:
    """Return what stays the user's own: a name may become another one's."""
    return f"user {user.pk}"


def _refuse_trash(user: Any, file: File) -> None:
    """Raise ValidationError for a file in the trash where a replacement would restore it."""
    if file.deleted_at and not access.may(user, "restore", str(file)):
        raise ValidationError(changes.IN_TRASH, "in_trash", {"file": file.pk})


def _own(user: Any, ticket: Ticket) -> Ticket:
    """Return the ticket. Raises PermissionDenied for one of another user."""
    access.require(user, "add", ticket.key)
    if ticket.user != user.pk:
        raise PermissionDenied
    return ticket
