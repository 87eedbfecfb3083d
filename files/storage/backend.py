"""The storage that Django knows: names, options, and what files, forms and `default_storage` ask.

The rest of its methods have modules of their own: `base`, `marks`, `writing`, `copying`, `uploads`.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any, Literal, overload
from urllib.parse import quote, urlencode

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.utils.timezone import make_naive
from storages.utils import setting

from files.keys import MAX_KEY_LENGTH
from files.storage.base import NEW, Name
from files.storage.copying import Copies
from files.storage.errors import taken
from files.storage.listing import Entry, Page, pages
from files.storage.marks import Write
from files.storage.naming import alternative_name, fits, refuse_reserved
from files.storage.opening import TAKEN, NewObjectFile, parse_mode
from files.storage.options import FIXED, check_options
from files.storage.reading import ObjectFile
from files.storage.stat import ObjectStat
from files.storage.uploads import ClientUploads

SAVES = 8  # how often a save may find that somebody was faster


class ObjectStorage(Copies, ClientUploads):
    """django-storages' S3 storage, for keys as they are.

    A name is the object's key, byte for byte; nothing is cleaned, joined or stripped. S3's errors
    are raised as FileNotFoundError, PermissionError, S3UnavailableError (out of reach: try later),
    and S3Error for the rest, all of them OSError.
    """

    custom_domain: str | None
    url_protocol: str
    querystring_auth: bool
    querystring_expire: int

    def __init__(self, **options: Any) -> None:
        """Take django-storages' options. Raises ImproperlyConfigured for one that cannot hold."""
        check_options(type(self), options)
        location = options.pop("location", None)
        super().__init__(**options)
        if location is not None:  # django-storages takes none that begins with a slash
            self.location = location

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options that hold where none is given: django-storages', but for FIXED."""
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {name: held for name, (held, *_) in FIXED.items() if name in defaults}

    # Reading

    @overload  # type: ignore[override] # the stubs know no paths and no overloads
    def open(self, name: Name, mode: Literal["rb", "r", "rt"] = "rb") -> ObjectFile: ...

    @overload
    def open(self, name: Name, mode: str) -> "File[Any]": ...

    def open(self, name: Name, mode: str = "rb") -> "File[Any]":
        """Return the object as a file to read, or a new one to write; text is UTF-8.

        Reading makes no request yet, so that a missing object shows at a read. What is written is
        stored by `close()`, and not at all where the `with` block fails. Raises FileExistsError
        where the key is taken, ValueError for a mode that changes an object in place.
        """
        writes, _ = parse_mode(mode)
        if writes:
            if not name:
                raise ValueError("The name must be given to open().")
            refuse_reserved(str(name))
            if self.exists(name):
                raise taken(str(name), TAKEN)
            return NewObjectFile(self, str(name), mode)
        return ObjectFile(self.objects, str(name), mode)

    def exists(self, name: Name) -> bool:
        """Return whether there is an object of this key."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: Name) -> int:
        """Return the object's size in bytes."""
        return self.stat(name).size

    def get_modified_time(self, name: Name) -> datetime:
        """Return when the object was written, aware with USE_TZ."""
        modified_at = self.stat(name).modified_at
        return modified_at if setting("USE_TZ") else make_naive(modified_at)

    def url(  # type: ignore[override] # as in django-storages
        self,
        name: Name,
        parameters: Mapping[str, str] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
    ) -> str:
        """Return a URL that is valid for `expire` seconds (an hour if None).

        It is one of `custom_domain` where that is set, and signed unless `querystring_auth` is off.
        `parameters` are S3's, by their names in the query or boto3's.
        """
        params = {_query_name(name): value for name, value in (parameters or {}).items()}
        expires = self.querystring_expire if expire is None else expire
        if not self.custom_domain and self.querystring_auth:
            return self.presign(http_method or "GET", str(name), expires=expires, params=params)
        name = str(name)
        url = self.objects.address(name)
        if self.custom_domain:
            path = quote(self.objects.full_key(name), safe="/")
            url = f"{self.url_protocol}//{self.custom_domain}/{path}"
        url += f"?{urlencode(params)}" if params else ""
        if self.querystring_auth and self.cloudfront_signer:
            end = datetime.now(UTC) + timedelta(seconds=expires)
            url = self.cloudfront_signer.generate_presigned_url(url, date_less_than=end)
        return url

    def listdir(self, name: Name) -> tuple[list[str], list[str]]:
        """Return the names of folders and of objects below the prefix `name`, without it."""
        name = str(name)
        prefix = f"{name}/" if name and not name.endswith("/") else name
        folders, files = [], []
        for page in self.pages(prefix, delimiter="/"):
            folders += [folder.removeprefix(prefix).removesuffix("/") for folder in page.folders]
            files += [entry.key.removeprefix(prefix) for entry in page.entries]
        return folders, [name for name in files if name]

    def list(self, prefix: str = "") -> Iterator[tuple[str, ObjectStat]]:
        """Yield key and stat of each object, in the order of the keys; a listing tells no type."""
        for page in self.pages(prefix):
            for entry in page.entries:
                yield entry.key, entry.stat

    def entry(self, key: str) -> Entry | None:
        """Return what a listing tells of the object, and its type, by one HEAD; None for none."""
        if (found := self.find(key)) is None:
            return None
        size, kind, etag, modified_at, storage_class, _checksum = found[0]
        return Entry(key, size, etag, modified_at.isoformat(), storage_class, kind)

    def pages(self, prefix: str = "", **options: Any) -> Iterator[Page]:
        """Yield the objects with the prefix page by page: see `files.storage.listing.pages`."""
        return pages(self.objects, prefix, **options)

    # Writing

    def get_available_name(self, name: Name, max_length: int | None = None) -> str:
        """Return the key itself where it is free and fits, and otherwise one with Django's suffix.

        Counts characters for `max_length` and bytes for S3's limit. Raises SuspiciousFileOperation
        where no name fits.
        """
        if not name:
            raise SuspiciousFileOperation("Could not derive file name from ''")
        key = str(name)
        limit = MAX_KEY_LENGTH - len(self.location.encode())
        while not fits(key, max_length, limit) or self.exists(key):
            key = alternative_name(str(name), self.get_alternative_name, max_length, limit)
        return key

    def _save(self, name: Name, content: "File[Any]") -> str:
        """Write the object of exactly this name, as ManifestFilesMixin asks for."""
        self.create(str(name), content)
        return str(name)

    def save(self, name: Name | None, content: IO[Any], max_length: int | None = None) -> str:
        """Write the content to a new object; return its key.

        An object that is there is never overwritten, whoever wrote it and when: as with Django's
        other storages, a taken key gets a suffix. When this raises, there is no new object and no
        open upload. Raises FileExistsError where somebody was faster and the content cannot be read
        again, or too often; SuspiciousFileOperation where no name has `max_length` characters.
        """
        if name is None:
            name = content.name or ""
        source = content if isinstance(content, File) else File(content, str(name))
        for attempt in range(SAVES):
            key = self.get_available_name(name, max_length)
            try:
                self._write(key, source, Write(NEW, uuid.uuid4().hex))
            except FileExistsError:  # somebody was faster, or is writing just now
                if attempt + 1 == SAVES or not source.seekable():
                    raise
            else:
                return key
        raise AssertionError("the last attempt returns or raises")

    def delete(self, name: Name, etag: str | None = None) -> None:
        """Delete the object, if it has that ETag; it is no error when there is none.

        Raises ObjectChangedError for an object of another ETag.
        """
        if not name:
            raise ValueError("The name must be given to delete().")
        self._delete(str(name), etag)


def _query_name(name: str) -> str:
    """Return S3's name in the query for boto3's: ``ResponseContentType``, ``VersionId``."""
    if name.startswith("Response"):
        return re.sub("(?<=.)(?=[A-Z])", "-", name).lower()
    return {"VersionId": "versionId", "PartNumber": "partNumber"}.get(name, name)
