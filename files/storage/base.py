"""The storage's bucket: boto3's client, signed requests, and S3's errors as Python's own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

from files.storage.body import Body
from files.storage.bucket import Bucket, Response, bucket
from files.storage.client import client
from files.storage.errors import Refusal, failed, refused
from files.storage.stat import (
    MAY_BE_ARCHIVED,
    ObjectStat,
    is_archived,
    read_details,
    read_stat,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Name = str | os.PathLike[str]  # an object's key; pathlib takes double slashes and dots out

NEW: dict[str, Any] = {"IfNoneMatch": "*"}  # the condition of a write that makes a new object


class BucketStorage(S3Storage):
    """A storage of one bucket, whose objects are found by exact keys below `location`."""

    bucket_name: str
    endpoint_url: str | None
    region_name: str | None
    location: str

    @property
    def client(self) -> "S3Client":
        """The process's boto3 client: it may be shared by threads, a resource may not."""
        return client(self.endpoint_url, self.region_name)

    @property
    def objects(self) -> Bucket:
        """The bucket, to read objects from."""
        return bucket(self.bucket_name, self.endpoint_url, self.region_name, self.location)

    def _at(self, key: str) -> Any:
        """Return the parameters by which boto3 finds the object."""
        return {"Bucket": self.objects.name, "Key": self.objects.full_key(key)}

    def of_bucket(self, name: str) -> Self:
        """Return a storage of all of another bucket, at the same place."""
        place = {"endpoint_url": self.endpoint_url, "region_name": self.region_name}
        return type(self)(bucket_name=name, location="", **place)

    @property
    def _is_aws(self) -> bool:
        """Whether S3 is AWS's own, which keeps conditions that other servers ignore."""
        host = urlsplit(self.client.meta.endpoint_url).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def request(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send a GET or HEAD with these headers on to S3: see `Bucket.request`."""
        return self.objects.request(method, key, headers)

    def body(self, key: str, response: Response) -> Body:
        """Return the body of the answer to a GET, which is continued where it breaks."""
        return Body(self.objects, key, response)

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires: int = 60,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that allows `method` for `expires` seconds: see `Bucket.presign`."""
        return self.objects.presign(method, key, expires=expires, params=params, headers=headers)

    def sign(self, method: str, key: str, params: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return a URL, and headers that allow `method` on it: see `Bucket.sign`."""
        return self.objects.sign(method, key, params)

    def stat(self, name: Name) -> ObjectStat:
        """Return what S3 tells of the object, by one HEAD request."""
        return read_stat(str(name), self._head(str(name)))

    def details(self, name: Name) -> dict[str, str]:
        """Return the headers that the object keeps for itself, its metadata among them."""
        return read_details(self._head(str(name)))

    def tags(self, name: Name) -> dict[str, str]:
        """Return the object's tags. Servers that have none raise S3Error."""
        with self._boundary(str(name)):
            answer = self.client.get_object_tagging(**self._at(str(name)))
        # LocalStack answers for the bucket where the key is "/".
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", ())}

    def uri(self, name: Name) -> str:
        """Return the address of the object as the tools of AWS take it."""
        return f"s3://{self.objects.name}/{self.location}{name}"

    def refuse_archived(self, key: str, storage_class: str) -> None:
        """Raise ArchivedError where the object, which is of this class, must be restored first.

        Only objects of a class that may be archived are asked for. One that is missing is not.
        """
        if storage_class in MAY_BE_ARCHIVED:
            with suppress(FileNotFoundError):
                self.refuse_unreadable(key, self._head(key))

    def refuse_unreadable(self, key: str, headers: Mapping[str, str]) -> None:
        """Raise ArchivedError where S3 does not read the object, whose HEAD has these headers.

        It is asked for a byte: other servers than AWS's have such classes and archive nothing.
        """
        if is_archived(headers):
            self.request("GET", key, {"Range": "bytes=0-0"}).close()

    def _head(self, key: str) -> Mapping[str, str]:
        response = self.request("HEAD", key)
        response.close()
        return response.headers

    @contextmanager
    def _boundary(self, key: str, condition: Mapping[str, str] = NEW) -> Iterator[None]:
        """Raise Python's own errors for boto3's."""
        try:
            yield
        except ClientError as error:
            raise refused(self._refusal(key, condition, error)) from error
        except BotoCoreError as error:  # its text may tell the whole address
            raise failed(self.client.meta.endpoint_url, key, error) from None

    def _refusal(self, key: str, condition: Mapping[str, str], error: ClientError) -> Refusal:
        found, answer = error.response["Error"], error.response["ResponseMetadata"]
        of_source = (  # a copy has a condition of its source too
            error.operation_name == "UploadPartCopy"
            or "copy-source" in str(found.get("Condition")).lower()
        )
        return Refusal(
            operation=error.operation_name,
            bucket=self.bucket_name,
            key=key,
            status=answer["HTTPStatusCode"],
            code=found["Code"],
            endpoint=self.client.meta.endpoint_url,
            region=answer.get("HTTPHeaders", {}).get("x-amz-bucket-region", ""),
            makes_new=condition is NEW and not of_source,
        )
