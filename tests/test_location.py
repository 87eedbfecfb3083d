"""What boto3's clients of the tests see of a bucket that is not the run's own."""

import boto3
import pytest

from tests import location
from tests.operations import objects


@pytest.fixture
def inside(storage, monkeypatch):
    """Return a client that sees what is below `in ü/` alone."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    location.enter(f"{storage.location}in ü/")
    return boto3.client("s3")


@pytest.mark.parametrize(
    "make", [lambda bucket: {"Bucket": bucket, "Key": "a"}, lambda bucket: f"{bucket}/a"]
)
def test_a_source_is_copied_twice_below_the_location(inside, bucket, storage, make):
    inside.put_object(Bucket=bucket, Key="a", Body=b"text")
    source = make(bucket)
    for key in ("b", "c"):
        inside.copy_object(Bucket=bucket, Key=key, CopySource=source)
    assert objects(storage) == dict.fromkeys(["in ü/a", "in ü/b", "in ü/c"], b"text")


def test_a_request_to_delete_is_sent_twice(inside, bucket, storage, put):
    put("a", b"ours")
    request = {"Objects": [{"Key": "a"}]}
    for _ in range(2):
        inside.put_object(Bucket=bucket, Key="a", Body=b"text")
        inside.delete_objects(Bucket=bucket, Delete=request)
    assert objects(storage) == {"a": b"ours"}


@pytest.mark.needs("pages of listings")
def test_a_list_goes_on_behind_its_marker(inside, bucket):
    for key in ("a", "b", "c"):
        inside.put_object(Bucket=bucket, Key=key)
    pages = inside.get_paginator("list_objects").paginate(
        Bucket=bucket, Marker="a", Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    assert [[entry["Key"] for entry in page["Contents"]] for page in pages] == [["b"], ["c"]]
