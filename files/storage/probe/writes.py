"""Writes: their conditions, what copies keep, and checksums."""

import base64
import hashlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from files.storage.base import NEW
from files.storage.probe.ground import Ground
from files.storage.probe.promises import promise

REFUSED = {409, 412}  # 409 while another write is under way
WRITERS = 8  # at once
WRONG: dict[str, Any] = {"IfMatch": '"00000000000000000000000000000000"'}
DIGEST = base64.b64encode(hashlib.sha256(b"other").digest()).decode()  # of other bytes
TAGS = "a=1&b=x%20y"


@promise("conditional puts", "one of eight writers at once succeeds, and another ETag is refused")
def conditional_puts(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}put"
    with _signals_wait(), ThreadPoolExecutor(WRITERS) as pool:
        put = [pool.submit(ground.put, key, bytes([n]), **NEW) for n in range(WRITERS)]
        winners = sum(future.result().status == 200 for future in put)
    if winners != 1:
        yield f"{winners} of {WRITERS} writers at once succeed under If-None-Match"
    if ground.put(key, b"next", **NEW).status not in REFUSED:
        yield "If-None-Match is ignored, so that a write overwrites"
    yield from _faults_of_if_match(ground, key)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let signals come afterwards: what their handlers raise would leave a pool's locks held."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _faults_of_if_match(ground: Ground, key: str) -> Iterator[str]:
    etag = ground.put(key, b"old").data["ETag"]
    if ground.put(key, b"new", **WRONG).status not in REFUSED:
        yield "If-Match is ignored, so that a replacement overwrites what somebody else wrote"
    elif ground.put(key, b"new", IfMatch=etag).status != 200:
        yield "If-Match with the right ETag is refused"


@promise("conditional completions", "an upload in parts overwrites nothing")
def conditional_completions(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}completion"
    etag = ground.put(key, b"old").data["ETag"]
    if ground.complete(key, ground.upload(key), **NEW) not in REFUSED:
        yield "If-None-Match is ignored, so that a large upload overwrites"
        etag = ground.put(key, b"old").data["ETag"]
    if ground.complete(key, ground.upload(key), **WRONG) not in REFUSED:
        yield "If-Match is ignored, so that a large replacement overwrites what somebody else wrote"
    elif ground.complete(key, ground.upload(key), IfMatch=etag) != 200:
        yield "If-Match with the right ETag is refused"


@promise(
    "conditional deletes",
    "an object of another ETag is not deleted",
    "the ETag is compared just before a deletion",
)
def conditional_deletes(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}deletion"
    etag = ground.put(key, b"data").data["ETag"]
    if ground.ask("delete_object", key, **WRONG).status not in REFUSED:
        yield "If-Match is ignored"
    elif ground.ask("delete_object", key, IfMatch=etag).status not in {200, 204}:
        yield "If-Match with the right ETag is refused"


@promise(
    "conditional copies",
    "a CopyObject overwrites nothing",
    "copies are writes of what was read, or in parts, under the condition of those",
)
def conditional_copies(ground: Ground) -> Iterator[str]:
    source, target = f"{ground.folder}source", f"{ground.folder}target"
    ground.put(source, b"source")
    ground.put(target, b"target")
    copied = ground.write("copy_object", target, CopySource=ground.place(source), **NEW)
    if copied.status not in REFUSED:
        yield "If-None-Match is ignored"


@promise("conditional sources", "what is copied is the version that is meant")
def conditional_sources(ground: Ground) -> Iterator[str]:
    source, target = f"{ground.folder}original", f"{ground.folder}copy"
    ground.put(source, b"source")
    wanted = {"CopySource": ground.place(source), "CopySourceIfMatch": WRONG["IfMatch"]}
    if ground.write("copy_object", target, **wanted).status not in REFUSED:
        yield "CopyObject ignores it"
    upload_id = ground.upload(target)
    part = ground.ask("upload_part_copy", target, UploadId=upload_id, PartNumber=1, **wanted)
    if part.status not in REFUSED:
        yield "UploadPartCopy ignores it, so that the copy of a large file may mix two contents"


@promise(
    "whole copies",
    "a CopyObject keeps tags, and has the metadata that it names",
    "outside AWS tags and metadata are read, and written with the copy",
)
def whole_copies(ground: Ground) -> Iterator[str]:
    source, target = f"{ground.folder}tagged", f"{ground.folder}tagged-copy"
    described = {"Metadata": {"own": "text"}, "ContentType": "text/x-own"}
    ground.put(source, b"data", Tagging=TAGS)
    copied = {"CopySource": ground.place(source), "MetadataDirective": "REPLACE"}
    ground.write("copy_object", target, **copied, **described)
    head = ground.ask("head_object", target).data
    if (head.get("Metadata"), head.get("ContentType")) != ({"own": "text"}, "text/x-own"):
        yield "metadata or type are lost"
    if not _has_tags(ground, target):
        yield "tags are lost"


@promise(
    "tags of uploads",
    "an object has the tags that its write names, in parts too",
    "a file loses its tags when it is renamed or replaced",
)
def tags_of_uploads(ground: Ground) -> Iterator[str]:
    key, large = f"{ground.folder}tags", f"{ground.folder}tags-of-parts"
    ground.put(key, b"data", Tagging=TAGS)
    if not _has_tags(ground, key):
        yield "a put loses them"
    ground.complete(large, ground.upload(large, Tagging=TAGS))
    if not _has_tags(ground, large):
        yield "an upload in parts loses them"


def _has_tags(ground: Ground, key: str) -> bool:
    found = ground.ask("get_object_tagging", key).data.get("TagSet", ())
    return {tag["Key"]: tag["Value"] for tag in found} == {"a": "1", "b": "x y"}


@promise("checksums", "bytes of another SHA-256 are refused, and S3 tells that of an upload")
def checksums(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}checksum"
    if ground.put(key, b"data", ChecksumSHA256=DIGEST).status == 200:
        yield "a put with a wrong one is accepted"
    if _send_part(ground, key, b"data", DIGEST)[0] == 200:
        yield "a part with a wrong one is accepted"
    digest = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    status, upload_id = _send_part(ground, key, b"data", digest)
    if status != 200:
        yield f"a part with a good one is refused with {status}"
        return
    ground.ask("delete_object", key)
    try:
        ground.storage.finish_upload(
            key, upload_id, digests=[digest], size=4, part_size=4, mark="probe"
        )
    except PermissionError:
        raise
    except OSError as error:
        yield f"an upload cannot be compared ({error.strerror})"
    ground.ask("head_object", key)  # which tells the version that is to be deleted


def _send_part(ground: Ground, key: str, data: bytes, digest: str) -> tuple[int, str]:
    """Send a part as a browser does; return the status and the id of the upload."""
    upload_id = ground.upload(key, ChecksumAlgorithm="SHA256", Metadata={"write": "probe"})
    url, header = ground.storage.sign_part(key, upload_id, 1, digest, len(data))
    return ground.fetch(url, "PUT", {header: digest}, data).status, upload_id


@promise(
    "checksums of parts",
    "ListParts tells the SHA-256 of each part",
    "they are compared when the upload is completed",
)
def checksums_of_parts(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}parts"
    digest = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    _status, upload_id = _send_part(ground, key, b"data", digest)
    parts = ground.ask("list_parts", key, UploadId=upload_id).data.get("Parts", ())
    if [part.get("ChecksumSHA256") for part in parts] != [digest]:
        yield "it does not"
