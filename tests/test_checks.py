"""What `check --deploy` says of the bucket."""

import pytest

from files.checks import bucket_keeps_promises

SITE = "https://files.example.com"
RULE = {"AllowedMethods": ["PUT"], "AllowedOrigins": [SITE], "AllowedHeaders": ["*"]}


@pytest.fixture
def found(own_services, storage, settings):
    """Say what is found with these rules of the bucket; put its own back afterwards."""
    client, bucket = storage.client, storage.bucket_name
    own = client.get_bucket_cors(Bucket=bucket)["CORSRules"]
    settings.CSRF_TRUSTED_ORIGINS = [SITE]

    def found(*rules):
        if rules:
            client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [*rules]})
        else:
            client.delete_bucket_cors(Bucket=bucket)
        return [(message.id, message.msg) for message in bucket_keeps_promises(None)]

    yield found
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": own})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"AllowedOrigins": ["*"]},
        {"AllowedOrigins": ["https://*.example.com"]},
        {"AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["X-Amz-Checksum-Sha256"]},
        {"AllowedHeaders": ["x-amz-*"]},
    ],
)
def test_a_rule_that_allows_it_is_enough(found, change):
    assert found({**RULE, "AllowedMethods": ["GET"]}, RULE | change) == []


@pytest.mark.parametrize(
    "change",
    [
        {"AllowedMethods": ["GET", "POST"]},
        {"AllowedOrigins": ["http://files.example.com", "https://example.com"]},
        {"AllowedHeaders": ["content-type"]},
    ],
)
def test_a_rule_that_does_not_is_told_with_one_that_does(found, change):
    text = (
        f"CORS of the bucket: not from {SITE}: add this rule to the bucket:"
        f' {{"AllowedMethods": ["PUT"], "AllowedOrigins": ["{SITE}"], "AllowedHeaders":'
        ' ["x-amz-checksum-sha256"]} (large files cannot be uploaded).'
    )
    assert found(RULE | change) == [("files.W001", text)]
    assert found() == [("files.W001", text)]


def test_hosts_stand_for_origins_where_none_are_named(found, settings):
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.ALLOWED_HOSTS = ["other.example.com", "*", ".example.org"]
    assert "from https://other.example.com:" in found(RULE)[0][1]


def test_a_bucket_that_cannot_be_asked_is_a_warning(storage, monkeypatch, caplog):
    monkeypatch.setattr(storage._wrapped, "bucket_name", "no-such-bucket-here")
    (message,) = bucket_keeps_promises(None)
    assert (message.id, message.msg.split(": ")[0]) == (
        "files.W002",
        "The bucket no-such-bucket-here cannot be asked",
    )
