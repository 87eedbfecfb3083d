"""Names that Django's storage contract makes of others: with a suffix, and short enough."""

from collections.abc import Callable
from pathlib import PurePosixPath

from django.core.exceptions import SuspiciousFileOperation

from files.keys import MAX_KEY_LENGTH, RESERVED, folder_of, name_of


def refuse_reserved(key: str) -> None:
    """Raise SuspiciousFileOperation for a key that begins with the reserved prefix."""
    if key.startswith(RESERVED):
        raise SuspiciousFileOperation(
            f"Keys that begin with {RESERVED} are reserved: choose another key than {key!r}."
        )


def fits(key: str, max_length: int | None = None, limit: int = MAX_KEY_LENGTH) -> bool:
    """Return whether the key has `max_length` characters and `limit` bytes of UTF-8 at most."""
    return len(key.encode()) <= limit and (max_length is None or len(key) <= max_length)


def alternative_name(
    key: str,
    alternative: Callable[[str, str], str],
    max_length: int | None = None,
    limit: int = MAX_KEY_LENGTH,
) -> str:
    """Return another key in the same folder that fits, the stem cut where that is needed.

    `alternative` makes a name of stem and extension, as Django's `get_alternative_name` does.
    Raises SuspiciousFileOperation, as Django does, where nothing would be left of the stem.
    """
    folder, name = folder_of(key), name_of(key)
    extension = "".join(PurePosixPath(name).suffixes)
    whole = name.removesuffix(extension)
    rest = folder + alternative("", extension)
    stem = whole.encode()[: max(0, limit - len(rest.encode()))].decode(errors="ignore")
    if max_length is not None:
        stem = stem[: max(0, max_length - len(rest))]
    found = folder + alternative(stem, extension)
    if (whole and not stem) or not fits(found, max_length, limit):
        raise SuspiciousFileOperation(
            f"There is no available filename for {key!r}: shorten it, or allow a larger max_length."
        )
    return found
