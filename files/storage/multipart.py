"""Uploads in parts, of which nothing shows before they are completed."""

import logging
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, PartTypeDef

MAX_PARTS = 10_000  # S3's limit for one upload

logger = logging.getLogger(__name__)


def part_size(size: int, least: int) -> int:
    """Return how large the parts of `size` bytes must be, `least` bytes or more."""
    return max(least, -(-size // MAX_PARTS))


class MultipartUpload:
    """One of S3's multipart uploads. As a context manager it is aborted by what fails inside.

    A part is put or copied by its number, from 1 on; each method raises what boto3 raises.
    """

    def __init__(self, client: "S3Client", Bucket: str, Key: str, upload_id: str) -> None:  # noqa: N803
        """Take bucket and key by boto3's names of them."""
        self._client = client
        self.id = upload_id
        self._target: Any = {"Bucket": Bucket, "Key": Key, "UploadId": upload_id}

    @classmethod
    def begin(cls, client: "S3Client", Bucket: str, Key: str, **parameters: Any) -> Self:  # noqa: N803
        """Begin an upload to the object, with its type and metadata as `parameters`."""
        upload = client.create_multipart_upload(Bucket=Bucket, Key=Key, **parameters)
        return cls(client, Bucket, Key, upload["UploadId"])

    def put(self, number: int, data: bytes) -> "CompletedPartTypeDef":
        """Send a part: at least 5 MiB, but for the last one."""
        part = self._client.upload_part(**self._target, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": part["ETag"]}

    def copy(
        self, number: int, source: Any, etag: str, extent: tuple[int, int]
    ) -> "CompletedPartTypeDef":
        """Copy first to last byte of another object, if it still has that ETag."""
        part = self._client.upload_part_copy(
            **self._target,
            PartNumber=number,
            CopySource=source,
            CopySourceIfMatch=etag,
            CopySourceRange=f"bytes={extent[0]}-{extent[1]}",
        )
        return {"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]}

    def listed(self) -> "list[PartTypeDef]":
        """Return what S3 tells of the parts that it has, page by page of 1,000."""
        pages = self._client.get_paginator("list_parts").paginate(**self._target)
        return [part for page in pages for part in page.get("Parts", ())]

    def parts(self) -> "tuple[list[CompletedPartTypeDef], int]":
        """Return the parts that S3 has, and how many bytes they are."""
        parts = self.listed()
        return (
            [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts],
            sum(part["Size"] for part in parts),
        )

    def complete(self, parts: "list[CompletedPartTypeDef]", **condition: Any) -> None:
        """Make the object of the parts, under a condition such as ``IfNoneMatch="*"``."""
        self._client.complete_multipart_upload(
            **self._target, MultipartUpload={"Parts": parts}, **condition
        )

    def abort(self) -> None:
        """Throw the parts away; it is no error when the upload has ended."""
        try:
            self._client.abort_multipart_upload(**self._target)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Abort after an error; what fails here too is logged, so that the first one is raised."""
        if kind is None:
            return
        try:
            self.abort()
        except (BotoCoreError, ClientError) as error:
            logger.warning(
                "The upload %s of %r stays open: %s", self.id, self._target["Key"], error
            )
