"""What `check --deploy` says of the bucket."""

import pytest
from botocore.exceptions import ClientError

from files.checks import bucket_takes_uploads

SITE = "https://files.example.com"
RULE = {"AllowedMethods": ["PUT"], "AllowedOrigins": [SITE], "AllowedHeaders": ["*"]}


@pytest.fixture
def found(storage, settings):
    """Say what is found with these rules of the bucket; put its own back afterwards."""
    client, bucket = storage.client, storage.bucket_name
    own = client.get_bucket_cors(Bucket=bucket)["CORSRules"]
    settings.CSRF_TRUSTED_ORIGINS = [SITE]

    def found(*rules):
        if rules:
            client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [*rules]})
        else:
            client.delete_bucket_cors(Bucket=bucket)
        return [(message.id, message.msg, message.hint) for message in bucket_takes_uploads(None)]

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
    text = f"Browsers cannot upload large files from {SITE}: CORS of the bucket."
    hint = (
        'Add this rule to the bucket: {"AllowedMethods": ["PUT"], "AllowedOrigins":'
        f' ["{SITE}"], "AllowedHeaders": ["x-amz-checksum-sha256"]}}'
    )
    assert found(RULE | change) == [("files.W001", text, hint)]
    assert found() == [("files.W001", text, hint)]


def test_hosts_stand_for_origins_where_none_are_named(found, settings):
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.ALLOWED_HOSTS = ["other.example.com", "*", ".example.org"]
    assert "from https://other.example.com:" in found(RULE)[0][1]


def test_rules_that_may_not_be_read_are_told(storage, settings, monkeypatch):
    error = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    def refuse(**parameters):
        raise ClientError(error, "GetBucketCors")

    monkeypatch.setattr(storage.client, "get_bucket_cors", refuse)
    (message,) = bucket_takes_uploads(None)
    assert message.id == "files.W002"
    assert "S3 refuses GetBucketCors (AccessDenied)" in message.msg
