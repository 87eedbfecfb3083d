"""Reads: ranges, conditions, versions."""

from collections.abc import Iterator
from contextlib import suppress

from files.storage.errors import ArchivedError
from files.storage.probe.ground import Ground
from files.storage.probe.promises import NotAskedError, promise

DATA = b"0123456789"
OLD, NEVER = "Mon, 01 Jan 2001 00:00:00 GMT", '"00000000000000000000000000000000"'
RANGES = {
    "bytes=0-0": (206, b"0"),
    "bytes=3-": (206, b"3456789"),
    "bytes=-2": (206, b"89"),
    "bytes=5-99": (206, b"56789"),
    "bytes=10-": (416, None),
}


@promise("ranges", "one range of bytes is what is sent")
def ranges(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}ranges"
    ground.put(key, DATA)
    wrong = [
        wanted for wanted, answer in RANGES.items() if not _answers(ground, key, wanted, answer)
    ]
    if wrong:
        yield f"{', '.join(wrong)} answered wrongly"


def _answers(ground: Ground, key: str, wanted: str, answer: tuple[int, bytes | None]) -> bool:
    status, data = ground.read(key, {"Range": wanted})
    return (status, data if status == 206 else None) == answer


@promise("conditions of reads", "304 and 412 come for one strong ETag and for dates")
def conditions_of_reads(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}conditions"
    etag = ground.put(key, DATA).data["ETag"]
    date = ground.storage.stat(key).modified_at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    asked = [
        ("If-None-Match", etag, 304),
        ("If-None-Match", NEVER, 200),
        ("If-Match", etag, 200),
        ("If-Match", NEVER, 412),
        ("If-Modified-Since", date, 304),
        ("If-Modified-Since", OLD, 200),
        ("If-Unmodified-Since", OLD, 412),
        ("If-Unmodified-Since", date, 200),
    ]
    for name, value, status in asked:
        found, _data = ground.read(key, {name: value})
        if found != status:
            yield f"{name} gets {found} in place of {status}"


@promise(
    "If-Range", "a range of an object that has changed is the whole", "the ETag is compared here"
)
def if_range(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}if-range"
    ground.put(key, DATA)
    if ground.read(key, {"Range": "bytes=0-0", "If-Range": NEVER}) != (200, DATA):
        yield "it is ignored"


@promise(
    "archived objects",
    "one of the class GLACIER is not read before it is restored",
    "there they are read as any other",
)
def archived_objects(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}archived"
    if ground.put(key, DATA, StorageClass="GLACIER").status != 200:
        yield "there is no such class"
        return
    with suppress(ArchivedError):
        ground.read(key)
        yield "it is read at once"


@promise("versions", "each is read by its id", "nothing reads former versions")
def versions(ground: Ground) -> Iterator[str]:
    key = f"{ground.folder}version"
    first = ground.put(key, b"first").data.get("VersionId", "null")
    ground.put(key, b"second")
    if first == "null":
        raise NotAskedError("not switched on")
    found = ground.ask("get_object", key, VersionId=first)
    if found.status != 200 or found.data["Body"].read() != b"first":
        yield "one that is not the last is another, or none"
