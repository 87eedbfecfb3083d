"""Where a probe writes: a random folder below the reserved prefix, of which nothing is left."""

import logging
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import unquote_plus

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from files.keys import RESERVED
from files.storage.errors import failed, refused, unreachable

if TYPE_CHECKING:
    from files.storage.backend import ObjectStorage

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """S3's answer to one of boto3's operations: its HTTP status, and what boto3 reads in it."""

    status: int
    data: dict[str, Any]


class Fetched(NamedTuple):
    """The answer to a presigned URL."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Ground:
    """A random folder below `.files/`. As a context manager it is empty again afterwards."""

    def __init__(self, storage: "ObjectStorage") -> None:
        self.storage = storage
        self.folder = f"{RESERVED}probe-{uuid.uuid4().hex}/"
        self.ahead: timedelta | None = None  # of S3's clock before this machine's
        self._written: dict[str, set[str]] = {}  # the versions by their keys
        self._uploads: set[tuple[str, str]] = set()  # keys and ids
        self._is_cleanable = False

    def __enter__(self) -> Self:
        """Ask for the bucket. Raises PermissionError where nothing is allowed, and S3's errors."""
        try:
            answer = self.ask("list_objects_v2", Prefix=self.place(self.folder)["Key"], MaxKeys=1)
        except PermissionError:  # the listing alone may be forbidden
            answer = self.ask("delete_object", f"{self.folder}none")
        date = answer.data["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date:
            self.ahead = parsedate_to_datetime(date) - datetime.now(UTC)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete all that was written. What cannot be deleted is logged."""
        try:
            self._clean()
        except OSError as failure:
            logger.warning("What lies below %s stays, delete it by hand: %s", self.folder, failure)

    def ask(self, operation: str, key: str = "", **parameters: Any) -> Answer:
        """Do one of boto3's operations, and return S3's answer, also where it refuses.

        Raises PermissionError, FileNotFoundError where there is no bucket, and S3UnavailableError.
        """
        target: Any = {"Bucket": self.storage.objects.name}
        if key:
            target["Key"] = self.storage.objects.full_key(key)
        try:
            data = getattr(self.storage.client, operation)(**target, **parameters)
        except ClientError as error:
            return self._refused(key, error)
        except BotoCoreError as error:
            raise failed(self.storage.client.meta.endpoint_url, key, error) from None
        if version := data.get("VersionId"):
            self._written.setdefault(key, set()).add(version)
        return Answer(data["ResponseMetadata"]["HTTPStatusCode"], data)

    def _refused(self, key: str, error: ClientError) -> Answer:
        status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        if status == 403 or code == "NoSuchBucket" or not key:
            raise refused(self.storage._refusal(key, {}, error)) from error
        return Answer(status, dict(error.response))

    def write(self, operation: str, key: str, **parameters: Any) -> Answer:
        """Do an operation that makes an object, if it may be deleted afterwards."""
        if not self._is_cleanable:
            self.ask("delete_object", f"{self.folder}none")
            self._is_cleanable = True
        self._written.setdefault(key, set())
        return self.ask(operation, key, **parameters)

    def put(self, key: str, data: bytes = b"", **parameters: Any) -> Answer:
        """Put an object."""
        return self.write("put_object", key, Body=data, **parameters)

    def upload(self, key: str, **parameters: Any) -> str:
        """Begin an upload in parts, if it may be aborted afterwards; return its id."""
        self.ask("abort_multipart_upload", key, UploadId="none")
        begun = self.write("create_multipart_upload", key, **parameters)
        upload_id: str = begun.data.get("UploadId", "")
        self._uploads.add((key, upload_id))
        return upload_id

    def complete(self, key: str, upload_id: str, **condition: Any) -> int:
        """Send the only part of the upload and complete it; return the status."""
        part = self.ask("upload_part", key, UploadId=upload_id, PartNumber=1, Body=b"part")
        done = {"Parts": [{"PartNumber": 1, "ETag": part.data.get("ETag", "")}]}
        about = {"UploadId": upload_id, "MultipartUpload": done}
        return self.write("complete_multipart_upload", key, **about, **condition).status

    def place(self, key: str) -> dict[str, str]:
        """Return boto3's names of the bucket and the object, as the source of a copy has them."""
        return {"Bucket": self.storage.objects.name, "Key": self.storage.objects.full_key(key)}

    def read(self, key: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Read the object as deliveries do; return status and body. Raises what they raise."""
        with closing(self.storage.request("GET", key, headers)) as response:
            return response.status, response.raw.read()

    def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Fetched:
        """Send a request to a presigned URL, as a browser does. Raises S3UnavailableError."""
        try:
            with closing(self.storage.objects.send(url, method, headers, data)) as response:
                return Fetched(response.status, response.headers, response.raw.read())
        except (HTTPError, OSError) as error:
            raise unreachable(self.storage.client.meta.endpoint_url, "", error) from None

    def _clean(self) -> None:
        with suppress(PermissionError):  # one may have begun of which Ctrl-C took the answer
            for name, upload_id, _begun in self.storage._uploads(self.folder):
                key = unquote_plus(name).removeprefix(self.storage.location)
                self._uploads.add((key, upload_id))
        for key, upload_id in self._uploads:
            self.ask("abort_multipart_upload", key, UploadId=upload_id)
        left = None
        for key in dict.fromkeys([*self._written, *self._listed()]):
            try:
                self._delete(key)
            except PermissionError as error:  # which is no reason to leave the others
                left = error
        if left:
            raise left

    def _listed(self) -> list[str]:
        """Return what is listed: where keys are folded, an object may have another one."""
        with suppress(PermissionError):
            return [key for key, _stat in self.storage.list(self.folder)]
        return []

    def _delete(self, key: str) -> None:
        """Delete the object, and where that is allowed each of its versions."""
        if not self._written.get(key):
            self.ask("delete_object", key)  # which makes a version too, where there are versions
        try:
            for version in list(self._written.get(key, ())):
                self.ask("delete_object", key, VersionId=version)
        except PermissionError as error:
            logger.warning("Versions below %s stay: %s", self.folder, error)
            self.ask("delete_object", key)
