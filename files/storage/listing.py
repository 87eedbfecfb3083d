"""Listings of the bucket by ListObjectsV2, page by page.

botocore needs 70 ms of CPU for a page of 1,000 objects, the parser of Python's own 6 ms, and a
regular expression 2 ms.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from django.utils.translation import gettext

from files.storage.bucket import Bucket
from files.storage.errors import S3Error
from files.storage.stat import STANDARD, ObjectStat, whole_seconds

PAGE = 1000  # objects, S3's limit


class Entry(NamedTuple):
    """An object in a listing, which tells no type; `modified` is in ISO 8601."""

    key: str
    size: int
    etag: str
    modified: str
    storage_class: str
    content_type: str | None = None  # where HEAD has been asked

    @property
    def modified_at(self) -> datetime:
        """When the object was written, in whole seconds as HEAD tells it."""
        return whole_seconds(datetime.fromisoformat(self.modified))

    @property
    def stat(self) -> ObjectStat:
        """What HEAD tells, the type where that has been asked for."""
        kind = self.content_type or ""
        return ObjectStat(self.size, kind, self.etag, self.modified_at, self.storage_class)


class Page(NamedTuple):
    """A part of a listing; `folders` are common prefixes, `token` is empty on the last page.

    `contents` is the XML of the objects, by which the same page is known again.
    """

    entries: list[Entry]
    folders: list[str]
    token: str
    contents: bytes


def pages(
    bucket: Bucket,
    prefix: str = "",
    *,
    after: str = "",
    delimiter: str = "",
    limit: int | None = None,
    known: Page | None = None,
) -> Iterator[Page]:
    """Yield what the bucket has with the prefix and behind the key `after`.

    A page has `limit` objects and folders, or PAGE. Where the first has the same objects as the
    page `known`, that one is yielded alone. A key with bytes that are not UTF-8 has these as
    halves of surrogate pairs, with which no file can be made. Raises PermissionError,
    S3UnavailableError, S3Error.
    """
    params = {"max-keys": str(limit or PAGE)}
    if delimiter:
        params["delimiter"] = delimiter
    if after:
        params["start-after"] = bucket.full_key(after)
    while True:
        body = bucket.list_page(prefix, **params)
        if known and _contents_of(body) == known.contents:
            yield known
            return
        page = _parse(prefix, body, len(bucket.full_key("")))
        yield page
        if not page.token:
            return
        params["continuation-token"] = page.token


def _parse(prefix: str, body: bytes, location: int) -> Page:
    """Return the page, its keys without the `location` characters that stand in front of each."""
    contents = _contents_of(body)
    try:
        found = _as_aws_writes(contents)
        rest = body if found is None else _without_contents(body)
        root = ElementTree.fromstring(rest)  # noqa: S314 - from S3
        space = root.tag.removesuffix("ListBucketResult")
        is_encoded = root.findtext(f"{space}EncodingType") == "url"
        decode = _unquoted if is_encoded else str
        entries = [
            Entry(decode(key)[location:], int(size), etag, modified, storage_class or STANDARD)
            for key, modified, etag, size, storage_class in found or _contents(root, space)
        ]
        if entries and not entries[0].key:  # the location itself, of which there is no key
            del entries[0]
        folders = [
            decode(folder.text or "")[location:]
            for folder in root.iterfind(f"{space}CommonPrefixes/{space}Prefix")
        ]
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError):
        text = gettext("S3's listing cannot be read: this server encodes keys otherwise than AWS")
        raise S3Error(errno.EIO, text, prefix) from None
    token = root.findtext(f"{space}NextContinuationToken") or ""
    if root.findtext(f"{space}IsTruncated") == "true" and not token:
        text = gettext("S3 breaks off its listing and does not say how to go on")
        raise S3Error(errno.EIO, text, prefix)
    return Page(entries, folders, token, contents)


def _contents_of(body: bytes) -> bytes:
    start, end = body.find(b"<Contents>"), body.rfind(b"</Contents>")
    return body[start : end + len(b"</Contents>")] if start >= 0 else b""


def _without_contents(body: bytes) -> bytes:
    start, _, rest = body.partition(b"<Contents>")
    return start + rest.rpartition(b"</Contents>")[2]


# As AWS and Ceph write it, with no entities but the quotes of an ETag. What is written otherwise is
# read by the parser of XML.
_OBJECT = re.compile(
    "<Contents><Key>([^<&]*)</Key><LastModified>([^<&]*)</LastModified>"
    '<ETag>(?:&quot;|")([^<&]*)(?:&quot;|")</ETag>(?:<Checksum[A-Z][a-z]+>[^<&]*</[^>]*>)*'
    "<Size>([0-9]+)</Size><StorageClass>([^<&]*)</StorageClass>(?:<Type>Normal</Type>)?</Contents>"
)


def _as_aws_writes(contents: bytes) -> list[Sequence[str]] | None:
    """Return what there is of each object, or None where it is not written as AWS does."""
    found = _OBJECT.findall(contents.decode())
    if len(found) != contents.count(b"<Contents>") or b"<CommonPrefixes>" in contents:
        return None
    return [(key, at, f'"{etag}"', size, kind) for key, at, etag, size, kind in found]


def _unquoted(key: str) -> str:
    return unquote_plus(key, errors="surrogateescape") if "%" in key or "+" in key else key


def _contents(root: ElementTree.Element, space: str) -> Iterator[Sequence[Any]]:
    names = [f"{space}{name}" for name in ("Key", "LastModified", "ETag", "Size", "StorageClass")]
    for found in root.iterfind(f"{space}Contents"):
        yield [found.findtext(name) for name in names]
