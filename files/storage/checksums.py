"""Checksums as the rows keep them.

``SHA256:<Base64>`` is that of the whole content. ``SHA256:<Base64>-<N>x<bytes>`` is that of the
SHA-256 of N parts, all of so many bytes but the last: what S3 has of an upload in parts.
"""

import base64
import hashlib
from collections.abc import Sequence

SHA256 = "SHA256:"


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
