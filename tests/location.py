"""boto3's clients of S3 in the tests, which see the objects below APP_BUCKET_LOCATION alone.

So a test says the same keys, whether the bucket is its own or one that the environment names.
"""

from functools import cache
from typing import Any

import boto3
from django.conf import settings

from files.keys import MAX_KEY_LENGTH

_SENT = ("Key", "Prefix", "StartAfter", "Marker", "KeyMarker")
_RECEIVED = (*_SENT, "NextMarker", "NextKeyMarker")
_LISTS = ("CommonPrefixes", "Contents", "DeleteMarkers", "Deleted", "Errors", "Uploads", "Versions")


def enter(location: str) -> None:
    """Let what `boto3.client` makes from now on put the location in front of each key."""
    boto3.setup_default_session()
    events = boto3.DEFAULT_SESSION.events

    def below(keys: dict[str, Any]) -> dict[str, Any]:
        return keys | {name: location + keys[name] for name in _SENT if name in keys}

    def source(given: Any) -> Any:
        if isinstance(given, dict):
            return below(given)
        bucket, _, key = given.partition("/")
        return f"{bucket}/{location}{key}"

    def send(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
        empty = {"Prefix": ""} if "Prefix" in model.input_shape.members else {}
        sent = below(empty | params)  # what the caller has given stays as it is
        if "CopySource" in sent:
            sent["CopySource"] = source(sent["CopySource"])
        if "Delete" in sent:
            entries = [below(entry) for entry in sent["Delete"]["Objects"]]
            sent["Delete"] = sent["Delete"] | {"Objects": entries}
        return sent

    def receive(parsed: dict[str, Any], **_: Any) -> None:
        for keys in (parsed, *(entry for name in _LISTS for entry in parsed.get(name, ()))):
            found = [name for name in _RECEIVED if isinstance(keys.get(name), str)]
            keys.update({name: keys[name].removeprefix(location) for name in found})

    events.register("provide-client-params.s3", send)
    events.register("after-call.s3", receive)


@cache
def client() -> Any:
    """Return a client that sees nothing else."""
    return boto3.client("s3")


def limit() -> int:
    """Return how many bytes the location leaves to a key."""
    return MAX_KEY_LENGTH - len(settings.STORAGES["default"]["OPTIONS"]["location"].encode())


def alike(storage: Any, **options: Any) -> Any:
    """Return a storage of the same place with other options."""
    from files.storage import ObjectStorage

    place = {"bucket_name": storage.bucket_name, "location": storage.location}
    return ObjectStorage(**place | options)
