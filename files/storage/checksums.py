"""Checksums as the rows keep them, and as S3 does.

``SHA256:<Base64>`` is that of the whole content. ``SHA256:<Base64>-<N>x<bytes>`` is that of the
SHA-256 of N parts, all of so many bytes but the last: what S3 has of an upload in parts.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

SHA256 = "SHA256:"
FORM = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=(?:-[1-9][0-9]*x([1-9][0-9]*))?")

# What lets S3 tell its own checksums of an object, and their headers.
MODE = {"x-amz-checksum-mode": "ENABLED"}
HEADER = "x-amz-checksum-"


def of_whole(digest: bytes) -> str:
    """Return the checksum of a content with this SHA-256."""
    return SHA256 + base64.b64encode(digest).decode()


def of_parts(digests: Sequence[str], part_size: int) -> str:
    """Return the checksum of parts with these SHA-256, in Base64, of `part_size` bytes each."""
    if len(digests) == 1:
        return SHA256 + digests[0]
    return f"{of_whole(sha256_of_parts(digests))}-{len(digests)}x{part_size}"


def sha256_of_parts(digests: Sequence[str]) -> bytes:
    """Return the SHA-256 of the parts' SHA-256, which are in Base64."""
    return hashlib.sha256(b"".join(map(base64.b64decode, digests))).digest()


# Computing them as the bytes come


class Hash(Protocol):
    """What hashlib makes, and the like."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class CRC:
    """A checksum by a function that takes the next bytes and what it made of those before."""

    def __init__(self, function: Callable[[bytes, int], int], length: int) -> None:
        self._function, self._length, self._value = function, length, 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


class Parts:
    """The checksum of a content that came in parts of `part_size` bytes."""

    def __init__(self, part_size: int) -> None:
        self._part_size = self._missing = part_size
        self._digests: list[str] = []
        self._hash = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        rest = memoryview(data)
        while len(rest) >= self._missing:
            self._hash.update(rest[: self._missing])
            rest = rest[self._missing :]
            self._digests.append(_base64(self._hash))
            self._hash, self._missing = hashlib.sha256(), self._part_size
        self._hash.update(rest)
        self._missing -= len(rest)

    def checksum(self) -> str:
        """Return the checksum of the bytes so far, as a row keeps it."""
        is_within = self._missing < self._part_size or not self._digests
        digests = [*self._digests, _base64(self._hash)] if is_within else self._digests
        return of_parts(digests, self._part_size)


@cache
def algorithms() -> dict[str, Callable[[], Hash]]:
    """Return what can be computed here, by S3's names; two need the package awscrt."""
    found: dict[str, Callable[[], Hash]] = {
        "crc32": partial(CRC, zlib.crc32, 4),
        "sha1": partial(hashlib.sha1, usedforsecurity=False),
        "sha256": hashlib.sha256,
    }
    try:
        from awscrt import checksums
    except ImportError:
        return found
    return found | {
        "crc32c": partial(CRC, checksums.crc32c, 4),
        "crc64nvme": partial(CRC, checksums.crc64nvme, 8),
    }


def of_s3(headers: Mapping[str, str]) -> dict[str, str]:
    """Return S3's own checksums of a whole object, in Base64, of those that can be computed here.

    Others are of its parts, of which nobody tells the sizes. Servers that know no types of
    checksums may not say so: there the ETag tells an upload in parts.
    """
    kind = headers.get(f"{HEADER}type", "FULL_OBJECT" if "-" not in headers["ETag"] else "")
    if kind != "FULL_OBJECT":
        return {}
    found = {name: headers.get(f"{HEADER}{name}", "") for name in algorithms()}
    return {name: value for name, value in found.items() if value and "-" not in value}


class Comparison:
    """Compares bytes, as they come, with the checksum of a row and with those of S3."""

    def __init__(self, checksum: str, of_s3: Mapping[str, str]) -> None:
        """`checksum` is empty where the row has none. Raises ValueError where it has another."""
        form = FORM.fullmatch(checksum)
        if checksum and not form:
            raise ValueError(f"{checksum!r} is no checksum of a row")
        self._expected, self._of_s3 = checksum, of_s3
        self._parts = Parts(int(form[1])) if form and form[1] else None
        names = {*of_s3} if self._parts else {"sha256", *of_s3}
        self._hashes = {name: algorithms()[name]() for name in names}

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._parts:
            self._parts.update(data)
        for each in self._hashes.values():
            each.update(data)

    def checksum(self) -> str:
        """Return the checksum of the bytes, of the kind that the row has, or of the whole."""
        return self._parts.checksum() if self._parts else of_whole(self._hashes["sha256"].digest())

    def differences(self) -> list[str]:
        """Return what is another than it should be, each as a sentence in small letters."""
        found = []
        if self._expected and self.checksum() != self._expected:
            found.append("its SHA-256 is not that of the row")
        for name, expected in self._of_s3.items():
            if _base64(self._hashes[name]) != expected:
                found.append(f"its {name.upper()} is not the one that S3 has of it")
        return found


def _base64(found: Hash) -> str:
    return base64.b64encode(found.digest()).decode()
