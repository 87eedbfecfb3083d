"""What people read of an error: its cause and S3's address stand in the log alone."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils.translation import gettext

from files.storage import S3UnavailableError

RETRY_AFTER = 5  # seconds, for the header Retry-After of 503

# What a change of a file may end in, whoever asks for it.
EXPECTED = (OSError, IntegrityError, ValidationError)


def reason(error: Exception) -> str:
    """Return one sentence for a page or an answer."""
    if isinstance(error, ValidationError):
        return str(error.messages[0])
    if isinstance(error, IntegrityError):
        return gettext("Other rows of the database need this file: delete those first.")
    if isinstance(error, S3UnavailableError):
        return gettext("S3 is out of reach; try again in a moment.")
    text = getattr(error, "strerror", None) or str(error)
    if "://" in text:
        return gettext("S3 does not do this; the log of the server says why.")
    return f"{text.removesuffix('.')}."
