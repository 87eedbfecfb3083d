"""What a key is: its limits, its folder and its name, and how it is shown."""

import mimetypes
import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

MAX_KEY_LENGTH = 1024  # bytes of UTF-8, S3's limit
LINE = 80  # characters that a message shows of a key
RESERVED = ".files/"  # what the project keeps for itself in the bucket
OWNER = f"{RESERVED}owner"  # the object that names the database which owns the bucket

# What servers that keep objects as files in folders take for the separator of folders, or drop.
_FOLDABLE = re.compile(r"^/|//|/$|\\|(^|/)\.\.?(/|$)")

# Controls, formatting characters and separators; and more that Unicode calls ignorable, or blank.
_UNSEEN_CATEGORIES = frozenset(["Cc", "Cf", "Zl", "Zp", "Zs"])
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f"
    "\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_SEEN = " \u3000"  # the latter is as wide as a letter
# At the beginning or the end of a name, or beside another one.
_UNSEEN_SPACE = re.compile("(?<![^/ \u3000])[ \u3000]|[ \u3000](?![^/ \u3000])")


def validate_object_key(value: object) -> None:
    """Refuse what is no key: an empty one, more than 1,024 bytes, NUL, half a surrogate pair."""
    key = str(value)
    if "\0" in key:
        raise ValidationError(_("PostgreSQL cannot keep a key with a NUL character."), "nul")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise ValidationError(_("A key must be valid Unicode."), "unicode") from None
    if not length:
        raise ValidationError(_("A key must not be empty."), "empty")
    if length > MAX_KEY_LENGTH:
        text = _("A key has at most %(limit)s bytes in UTF-8; this one has %(length)s.")
        about = {"limit": MAX_KEY_LENGTH, "length": length}
        shown = {name: number_format(value, force_grouping=True) for name, value in about.items()}
        raise ValidationError(text, "length", shown)


def validate_new_key(value: object) -> None:
    """Refuse what no new file can have: what is no key, or begins with the reserved prefix."""
    validate_object_key(value)
    if str(value).startswith(RESERVED):
        text = _("Keys that begin with %(reserved)s are reserved: choose another key.")
        raise ValidationError(text, "reserved", {"reserved": RESERVED})


def can_be_folded(key: str) -> bool:
    """Return whether some S3 servers take the key for another one, such as `a//b` for `a/b`."""
    return _FOLDABLE.search(key) is not None


def folder_of(key: str) -> str:
    """Return the key up to its last slash, which is empty at the top."""
    return key[: key.rfind("/") + 1]


def name_of(key: str) -> str:
    """Return what follows the key's last slash, which is empty for a key that ends in one."""
    return key.rpartition("/")[2]


def folders_to(key: str) -> list[str]:
    """Return the folders from the top down to the key, each by the beginning of its keys."""
    return [key[: end + 1] for end, character in enumerate(key) if character == "/"]


def visible(key: str) -> str:
    """Return the key with all of its characters to be seen, so that two that differ look different.

    Spaces that nobody would see are "␣", control characters their pictures in Unicode, and what
    formats a text or turns its order is named, as in "[U+202E]".
    """
    return _named(_UNSEEN_SPACE.sub(lambda space: _name(space[0]), key))


def _named(key: str) -> str:
    if key.isascii() and key.isprintable():  # at once: a list shows its keys twice
        return key
    names = {ord(character): _name(character) for character in set(key) if _is_unseen(character)}
    return key.translate(names)


def brief(key: str) -> str:
    """Return what is visible of the key in one line: a long one without its middle."""
    seen = visible(key)
    return seen if len(seen) <= LINE else f"{seen[: LINE // 2]}…{seen[-LINE // 2 :]}"


def _is_unseen(character: str) -> bool:
    is_of_kind = unicodedata.category(character) in _UNSEEN_CATEGORIES and character not in _SEEN
    return is_of_kind or _UNSEEN.match(character) is not None


def _name(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return {" ": "␣", "\x7f": "␡"}.get(character, f"[U+{code:04X}]")


def shown(key: str) -> str:
    """Return the key as a line of text, also one with halves of surrogate pairs.

    Spaces stay what they are, for scripts that read the line.
    """
    return _named(key).encode(errors="backslashreplace").decode()


def guess_type(key: str) -> tuple[str | None, str | None]:
    """Return type and encoding that the key's name suggests: a key is no URL."""
    return mimetypes.guess_type("./" + name_of(key))


def folder_name(folder: str) -> str:
    """Return the last segment of a folder, which is empty between two slashes."""
    return name_of(folder[:-1])


def is_folder(key: str) -> bool:
    """Return whether keys in a folder can begin so: it is empty at the top, or ends in a slash."""
    return not key or key.endswith("/")


def as_folder(text: str) -> str:
    """Return the text as the beginning of the keys in a folder, with the slash that it may lack."""
    return text if is_folder(text) else f"{text}/"


def key_after(folder: str) -> str:
    """Return the first key behind those of the folder, in the order of keys: "0" follows "/"."""
    return f"{folder[:-1]}0"


def prefix_end(prefix: str) -> str | None:
    """Return the first text behind all keys with the prefix, None where there is no end."""
    while prefix:
        prefix, last = prefix[:-1], ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix + chr(0xE000 if last == 0xD7FF else last + 1)
    return None
