"""What people and programs do with a file, each noted in its history, which the admin shows."""

import json
from datetime import datetime
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files import access, operations
from files.keys import brief, validate_new_key, visible
from files.models import File

TAKEN = _("There is a file of this key already.")
IN_TRASH = _(
    "A file of this key is in the trash: restore it, delete it permanently, or choose another key."
)
NO_ROW = _("The bucket has an object of this key that is not in the catalogue: choose another key.")
REPLACED = _("Replaced the content; the former one is in the trash.")


def validate_free_key(key: str) -> None:
    """Raise ValidationError for what is no key or belongs to a file or an object already."""
    validate_new_key(key)
    taken = File.objects.filter(object_key=key).first()
    if taken is not None and taken.deleted_at:
        raise ValidationError(IN_TRASH, "in_trash", {"file": taken.pk})
    if taken is not None:
        raise ValidationError(TAKEN, "taken", {"file": taken.pk})
    if File().storage.exists(key) and not operations.is_left_over(key):
        raise ValidationError(NO_ROW, "object")


# Each returns what the history tells, with long keys cut, and raises what the operation raises.


def rename(user: Any, file: File, key: str) -> str:
    """Give the file another key. Raises ValidationError for one that is taken."""
    old = str(file)
    try:
        file.rename(key)
    except FileExistsError:
        validate_free_key(key)
        raise
    text = gettext("Renamed from %s.")
    note(user, file, text % visible(old))
    return text % brief(old)


def replace(user: Any, file: File, content: Any) -> str:
    """Put another content under the key, and close what it was read from."""
    since = timezone.now()
    with content:
        file.replace(content)
    return note_replaced(user, file, since)


def trash(user: Any, file: File) -> str:
    """Put the file into the trash."""
    file.trash()
    return note(user, file, gettext("Moved to the trash."))


def restore(user: Any, file: File) -> str:
    """Take the file out of the trash."""
    wanted = file.name
    file.restore()
    if str(file) == wanted:
        return note(user, file, gettext("Restored from the trash."))
    text = gettext("Restored under this key, since “%s” is taken.")
    note(user, file, text % visible(wanted))
    return text % brief(wanted)


def delete(user: Any, file: File) -> str:
    """Delete the file for good."""
    pk = file.pk
    try:
        file.delete()
    finally:
        file.pk = pk
    note(user, file, "", DELETION)
    return gettext("Deleted permanently.")


def note_replaced(user: Any, file: File, since: datetime) -> str:
    """Note it, and in the history of the former content, which is in the trash since then."""
    text = note(user, file, str(REPLACED))
    for former in File.objects.trashed().filter(original_key=str(file), deleted_at__gte=since):
        note(user, former, gettext("Another content was put under its key."))
    return text


def note_new(user: Any, file: File) -> None:
    """Note that the file has been added."""
    note(user, file, [{"added": {}}], ADDITION)


def note(user: Any, file: File, message: Any, flag: int = CHANGE) -> str:
    """Note in the history what a user has done with the file; return the message."""
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(file),
        object_id=str(file.pk),
        object_repr=visible(file.name)[:200],
        action_flag=flag,
        change_message=json.dumps(message) if isinstance(message, list) else message,
    )
    return str(message)


def holder(error: ValidationError, user: Any) -> int | None:
    """Return the id of the file that has the key, None where there is none that one may see."""
    is_trashed = getattr(error, "code", "") == "in_trash"
    is_seen = access.may_read_any(user) and (not is_trashed or access.may_see_trash(user))
    found: int | None = (getattr(error, "params", None) or {}).get("file")
    return found if is_seen else None


def about(file: File, text: Any) -> str:
    """Return what people read of something that is about this file."""
    return f"“{brief(file.name)}”: {text}"
