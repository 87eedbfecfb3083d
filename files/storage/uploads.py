"""Uploads that a client sends straight to S3, in parts, by presigned URLs."""

import base64
import errno
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from django.utils.translation import gettext

from files.storage import checksums
from files.storage.base import NEW
from files.storage.errors import S3Error
from files.storage.marks import Write, marked
from files.storage.multipart import MultipartUpload
from files.storage.stat import MAX_TYPE_LENGTH, STANDARD, ObjectStat
from files.storage.writing import ConditionalWrites

EXPIRES = 3600  # seconds for which a part may be sent by its URL
CHECKSUM = "x-amz-checksum-sha256"  # the header that a part comes with


class SentPart(NamedTuple):
    """A part that S3 has: its number, its bytes, and its SHA-256 in Base64, where S3 lists that."""

    number: int
    size: int
    sha256: str | None


class ClientUploads(ConditionalWrites):
    """Uploads by clients: begun, signed part by part, and finished or aborted."""

    def begin_upload(self, key: str, content_type: str, mark: str) -> str:
        """Begin an upload of which each part comes with its SHA-256; return S3's id of it.

        `mark` is what the object is known by when the answer to its completion was lost.
        """
        parameters = self._parameters(key, content_type) | {"ChecksumAlgorithm": "SHA256"}
        with self._boundary(key):
            request = self._at(key) | marked(parameters, mark)
            return MultipartUpload.begin(self.client, **request).id

    def sign_part(
        self, key: str, upload_id: str, number: int, digest: str, length: int
    ) -> tuple[str, str]:
        """Return URL and checksum header for PUT of a part of `length` bytes.

        `digest` is its SHA-256 in Base64. S3 refuses what has another length or checksum.
        """
        params = {"partNumber": str(number), "uploadId": upload_id}
        headers = {CHECKSUM: digest, "content-length": str(length)}
        return self.presign("PUT", key, expires=EXPIRES, params=params, headers=headers), CHECKSUM

    def sent_parts(self, key: str, upload_id: str) -> list[SentPart] | None:
        """Return the parts that S3 has, None where it has no such upload."""
        upload = MultipartUpload(self.client, **self._at(key), upload_id=upload_id)
        with self._boundary(key), suppress(self.client.exceptions.NoSuchUpload):
            return [
                SentPart(part["PartNumber"], part["Size"], part.get("ChecksumSHA256"))
                for part in upload.listed()
            ]
        return None

    def finish_upload(
        self,
        key: str,
        upload_id: str,
        *,
        digests: Sequence[str],
        size: int,
        part_size: int,
        mark: str,
        etag: str | None = None,
    ) -> ObjectStat:
        """Make the object of the parts, when they are `size` bytes with these SHA-256, in Base64,
        and `part_size` bytes each but the last.

        It is a new one, or replaces the one of that ETag; return what S3 tells of it. Raises
        FileExistsError, ObjectChangedError, and S3Error where S3 has other parts than these; then
        no object is made.
        """
        if etag is not None:
            self.refuse_folded(key)
        write = Write(NEW if etag is None else {"IfMatch": etag}, mark)
        upload = MultipartUpload(self.client, **self._at(key), upload_id=upload_id)
        with self._recognizing(key, write):
            parts = _parts(key, upload, size, digests)
            upload.complete(parts, **write.condition)
        self._undo_folded(key, mark)
        with self._boundary(key):
            stat = self._check(key, size, digests, is_new=etag is None)
        return stat._replace(checksum=checksums.of_parts(digests, part_size))

    def _check(self, key: str, size: int, digests: Sequence[str], *, is_new: bool) -> ObjectStat:
        """Compare the object with the checksum of its parts' checksums; delete a new one if wrong.

        S3 has compared each part as it came, so that this should find nothing.
        """
        head = self.client.head_object(**self._at(key), ChecksumMode="ENABLED")
        expected = checksums.sha256_of_parts(digests)
        sent = head.get("ChecksumSHA256", "").partition("-")[0]
        if head["ContentLength"] != size or sent != base64.b64encode(expected).decode():
            if is_new:
                self._delete(key, head["ETag"])
            raise S3Error(errno.EIO, gettext("The object is not what was sent"), key)
        content_type = head.get("ContentType", "")[:MAX_TYPE_LENGTH]
        storage_class = head.get("StorageClass", STANDARD)
        return ObjectStat(size, content_type, head["ETag"], head["LastModified"], storage_class)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts away; it is no error when there is no such upload."""
        with self._boundary(key):
            MultipartUpload(self.client, **self._at(key), upload_id=upload_id).abort()

    def open_uploads(self, key: str) -> list[tuple[str, datetime]]:
        """Return S3's id of each upload to this key that has not ended, and when it was begun."""
        found = self._uploads(key)
        full = self.location + key
        # Not each server encodes what it says is encoded.
        return [
            (upload_id, begun)
            for name, upload_id, begun in found
            if full in {name, unquote_plus(name)}
        ]

    def _uploads(self, prefix: str, **parameters: Any) -> Iterator[tuple[str, str, datetime]]:
        """Yield key, id and begin of the uploads that are open; `parameters` are boto3's.

        The keys are encoded, as XML has no control characters; boto3 decodes objects' alone.
        """
        request: Any = {"Bucket": self.objects.name, "Prefix": self.location + prefix, **parameters}
        while True:
            with self._boundary(prefix):
                page = self.client.list_multipart_uploads(**request, EncodingType="url")
            decode = unquote_plus if page.get("EncodingType") == "url" else str
            for upload in page.get("Uploads", ()):
                yield upload["Key"], upload["UploadId"], upload["Initiated"]
            if not page.get("IsTruncated") or not page.get("Uploads"):
                return
            last = page["Uploads"][-1]  # SeaweedFS names no next ones
            request["KeyMarker"] = decode(page.get("NextKeyMarker", last["Key"]))
            request["UploadIdMarker"] = page.get("NextUploadIdMarker", last["UploadId"])

    def cors_rules(self) -> Sequence[Any]:
        """Return the bucket's CORS rules, as S3 has them: browsers need one to send parts."""
        try:
            with self._boundary(self.bucket_name):
                return self.client.get_bucket_cors(Bucket=self.objects.name)["CORSRules"]
        except FileNotFoundError:
            return []

    def set_cors_rules(self, rules: Sequence[Any]) -> None:
        """Let these be the bucket's CORS rules, and no others."""
        with self._boundary(self.bucket_name):
            self.client.put_bucket_cors(
                Bucket=self.objects.name, CORSConfiguration={"CORSRules": rules}
            )


def _parts(key: str, upload: MultipartUpload, size: int, digests: Sequence[str]) -> list[Any]:
    """Return the parts that S3 has, with these checksums. Raises S3Error where they are others."""
    parts, received = upload.parts()
    if received != size or len(parts) != len(digests):
        text = gettext("S3 has %(received)d bytes of %(size)d")
        raise S3Error(errno.EIO, text % {"received": received, "size": size}, key)
    return [{**part, "ChecksumSHA256": digest} for part, digest in zip(parts, digests, strict=True)]
