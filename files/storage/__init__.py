"""The bucket: the one place with S3 calls. Knows no model."""

from files.storage.backend import ObjectStorage
from files.storage.body import CHUNK, Body
from files.storage.bucket import Response
from files.storage.circuit import be_in_background
from files.storage.connections import POOL
from files.storage.errors import ArchivedError, ObjectChangedError, S3Error, S3UnavailableError
from files.storage.listing import Entry, Page
from files.storage.multipart import MAX_PARTS, part_size
from files.storage.reading import ObjectFile
from files.storage.stat import ARCHIVED, MAX_TYPE_LENGTH, STANDARD, ObjectStat, read_stat
from files.storage.uploads import CHECKSUM, SentPart

__all__ = [
    "ARCHIVED",
    "CHECKSUM",
    "CHUNK",
    "MAX_PARTS",
    "MAX_TYPE_LENGTH",
    "POOL",
    "STANDARD",
    "ArchivedError",
    "Body",
    "Entry",
    "ObjectChangedError",
    "ObjectFile",
    "ObjectStat",
    "ObjectStorage",
    "Page",
    "Response",
    "S3Error",
    "S3UnavailableError",
    "SentPart",
    "be_in_background",
    "part_size",
    "read_stat",
]
