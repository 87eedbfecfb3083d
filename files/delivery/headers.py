"""What goes with the content: type, disposition, and what keeps a browser from running it."""

import posixpath
import re
import unicodedata

from django.utils.http import content_disposition_header

from files.keys import guess_type, name_of
from files.models import File

# What a browser shows without running anything of it. All else is saved.
INLINE = frozenset(
    [
        "application/pdf",
        "text/plain",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "video/mp4",
        "video/ogg",
        "video/webm",
    ]
)

# A browser asks at each view: the content may have been replaced, the permission taken away.
CACHE_CONTROL = "private, no-cache"

POLICY = "default-src 'none'; sandbox"
# A browser's own player asks for the sound again, which a sandbox would forbid as another origin.
MEDIA_POLICY = "default-src 'none'; media-src 'self'"

_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?charset=[\w.:-]+)?", re.ASCII)


def content_headers(file: File, *, attachment: bool = False) -> dict[str, str]:
    """Return type, disposition and the headers that keep a browser from running the content."""
    sent = content_type(file)
    kind = sent.partition(";")[0].lower()
    inline = not attachment and kind in INLINE
    is_media = inline and kind.startswith(("audio/", "video/"))
    disposition = content_disposition_header(not inline, file_name(file.name))
    return {
        "Content-Type": sent,
        "Content-Disposition": disposition or "inline",
        "Cache-Control": CACHE_CONTROL,
        "Content-Security-Policy": MEDIA_POLICY if is_media else POLICY,
        "X-Content-Type-Options": "nosniff",
    }


def file_name(key: str) -> str:
    """Return a name to save the object by: the last part of its key, of at most 255 bytes.

    Characters that are not for the eye (line ends, NUL, marks of direction) become `_`.
    """
    name = "".join(
        "_" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else character
        for character in name_of(key.rstrip("/"))
    )
    stem, extension = posixpath.splitext(name)
    if len(extension.encode()) > 32:
        stem, extension = name, ""
    room = 255 - len(extension.encode())
    return stem.encode()[:room].decode(errors="ignore") + extension


def content_type(file: File) -> str:
    """Return the type of the row, or one that the key suggests; never the object's own."""
    guessed, encoding = guess_type(file.name)
    found = file.content_type or (guessed if not encoding else None) or ""
    if not _CONTENT_TYPE.fullmatch(found):
        return "application/octet-stream"
    # Without a charset a browser guesses, by the language of its user.
    return f"{found}; charset=utf-8" if found == "text/plain" else found
