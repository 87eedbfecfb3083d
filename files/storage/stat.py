"""What S3 tells of an object: for a row, and for a copy that keeps it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from files.storage.errors import no_object

MAX_TYPE_LENGTH = 255  # characters that are kept of an object's type
METADATA = "x-amz-meta-"
STANDARD = "STANDARD"  # the storage class of which HEAD says nothing

# The storage classes of what S3 reads only after it was restored, which leaves them as they are.
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# And the one with tiers that are such, of which a listing says nothing.
MAY_BE_ARCHIVED = ARCHIVED | {"INTELLIGENT_TIERING"}

# What a copy keeps besides the bytes and the metadata: S3's headers, and boto3's parameters.
COPIED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "cache-control": ("CacheControl", str),
    "content-disposition": ("ContentDisposition", str),
    "content-encoding": ("ContentEncoding", str),
    "content-language": ("ContentLanguage", str),
    "content-type": ("ContentType", str),
    "expires": ("Expires", parsedate_to_datetime),
    "x-amz-server-side-encryption": ("ServerSideEncryption", str),
    "x-amz-server-side-encryption-aws-kms-key-id": ("SSEKMSKeyId", str),
    "x-amz-server-side-encryption-bucket-key-enabled": (
        "BucketKeyEnabled",
        lambda value: value.lower() == "true",
    ),
    "x-amz-storage-class": ("StorageClass", str),
    "x-amz-website-redirect-location": ("WebsiteRedirectLocation", str),
}

# And what S3 tells of it besides.
OWN = COPIED.keys() | {
    "x-amz-archive-status",
    "x-amz-expiration",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-replication-status",
    "x-amz-restore",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-version-id",
}


class ObjectStat(NamedTuple):
    """What S3 tells of an object: `size` in bytes, the rest as in its headers.

    `modified_at` is in whole seconds, as in an HTTP date (RFC 9110 section 5.6.7). The `checksum`
    is empty where the bytes have not been here: see `files.storage.checksums`.
    """

    size: int
    content_type: str
    etag: str
    modified_at: datetime
    storage_class: str = STANDARD
    checksum: str = ""


def whole_seconds(date: datetime) -> datetime:
    """Return a date of a listing, to which some servers give fractions, as HEAD tells it."""
    return date.astimezone(UTC).replace(microsecond=0)


def read_stat(key: str, headers: Mapping[str, str]) -> ObjectStat:
    """Return what the headers tell. Raises S3Error where they are not those of an object."""
    try:
        return ObjectStat(
            size=int(headers["Content-Length"]),
            content_type=headers.get("Content-Type", "")[:MAX_TYPE_LENGTH],
            etag=headers["ETag"],
            modified_at=parsedate_to_datetime(headers["Last-Modified"]).astimezone(UTC),
            storage_class=headers.get("x-amz-storage-class", STANDARD),
        )
    except (KeyError, ValueError):
        raise no_object(key) from None


def read_details(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of the headers that are the object's own, by their names in small letters."""
    told = {name.lower(): value for name, value in headers.items()}
    own = {name: told[name] for name in told if name in OWN or name.startswith(METADATA)}
    return {"x-amz-storage-class": STANDARD} | own


def is_archived(headers: Mapping[str, str]) -> bool:
    """Return whether an object is archived and not restored, by the headers of a HEAD."""
    if "x-amz-archive-status" in headers:  # a tier of INTELLIGENT_TIERING, which a restore ends
        return True
    is_restored = 'ongoing-request="false"' in headers.get("x-amz-restore", "")
    return headers.get("x-amz-storage-class") in ARCHIVED and not is_restored


def read_parameters(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters by which boto3 writes another object with these headers."""
    found: dict[str, Any] = {"Metadata": {}}
    for name, value in headers.items():
        if name.lower().startswith(METADATA):
            found["Metadata"][name[len(METADATA) :].lower()] = value
        elif name.lower() in COPIED:
            parameter, convert = COPIED[name.lower()]
            try:
                found[parameter] = convert(value)
            except ValueError:  # a date that is none: S3 keeps any text
                continue
    return found
