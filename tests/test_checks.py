"""What `check --deploy` says of the bucket and the database."""

import json

import pytest
from django.db import connection

from files.checks import MESSAGES, bucket_keeps_promises, database_is_verified
from files.storage.probe import QUICK, probe
from tests import location, s3_servers
from tests.processes import manage

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
        found = [(message.id, message.msg) for message in bucket_keeps_promises(None)]
        return [message for message in found if message[0] in {"files.W001", "files.W006"}]

    yield found
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": own})


@pytest.mark.parametrize(
    "change",
    [
        {},
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
        f"CORS of the bucket: not from {SITE}: `manage.py bucket_cors --set` adds this rule:"
        f' {{"AllowedMethods": ["PUT"], "AllowedOrigins": ["{SITE}"], "AllowedHeaders":'
        ' ["x-amz-checksum-sha256"]} (large files cannot be uploaded).'
    )
    assert found(RULE | change) == [("files.W001", text)]
    assert found() == [("files.W001", text)]


@pytest.mark.parametrize("origin", ["*", "https://*"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_rule_by_which_any_page_writes_is_told(found, origin, method):
    (message,) = found(RULE, RULE | {"AllowedOrigins": [origin], "AllowedMethods": ["GET", method]})
    assert message[0] == "files.W006"
    assert f'"AllowedMethods": ["GET", "{method}"], "AllowedOrigins": ["{origin}"]' in message[1]


def test_a_rule_by_which_any_page_reads_is_not(found):
    assert found(RULE, RULE | {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}) == []


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


# Who may read the bucket, and what it keeps


def statements(bucket):
    """Return a policy that lets everybody list the bucket and read its objects."""
    place = f"arn:aws:s3:::{bucket}"
    allowed = {"s3:ListBucket": place, "s3:GetObject": f"{place}/*"}
    everybody = {"Effect": "Allow", "Principal": "*"}
    found = [everybody | {"Action": name, "Resource": where} for name, where in allowed.items()]
    return json.dumps({"Version": "2012-10-17", "Statement": found})


@pytest.mark.needs("privacy")
def test_a_bucket_that_everybody_reads_is_told(own_services, storage):
    place = {"Bucket": storage.bucket_name}
    storage.client.put_bucket_policy(**place, Policy=statements(storage.bucket_name))
    try:
        (result,) = probe(storage, ["privacy"])
    finally:
        storage.client.delete_bucket_policy(**place)
    told = ["anybody may list it", "anybody may read its objects"]
    assert (result.kept, result.detail.split("; ")[:2]) == (False, told)


def test_what_a_server_does_not_know_is_no_reason_to_warn(storage):
    with s3_servers.seaweedfs() as environ:
        other = location.alike(storage, endpoint_url=environ["AWS_ENDPOINT_URL_S3"])
        place = {"Bucket": other.bucket_name}
        other.client.put_bucket_policy(**place, Policy=statements(other.bucket_name))
        privacy, block = probe(other, ["privacy", "public access"])
    assert privacy.detail.split("; ")[2:] == ["its policy opens it to the public"]
    assert (block.kept, block.detail) == (None, "this S3 does not tell")


BLOCK = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
ABORT = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}
EXPIRE = {"NoncurrentVersionExpiration": {"NoncurrentDays": 90}}
UPLOADS = "no rule with AbortIncompleteMultipartUpload ends uploads that were broken off"
VERSIONS = "no rule with NoncurrentVersionExpiration ends the versions of deleted files"


@pytest.fixture
def other(own_services, storage):
    """Make a bucket and a storage on it, and let browsers of the site send to it."""
    client, place = storage.client, {"Bucket": f"{storage.bucket_name}-other"}
    region = {"LocationConstraint": client.meta.region_name}
    client.create_bucket(**place, CreateBucketConfiguration=region)
    client.put_bucket_cors(**place, CORSConfiguration={"CORSRules": [RULE]})
    yield location.alike(storage, bucket_name=place["Bucket"])
    client.delete_bucket(**place)


def block(storage, **settings):
    storage.client.put_public_access_block(
        Bucket=storage.bucket_name, PublicAccessBlockConfiguration=settings
    )


def keep_versions(storage, status="Enabled"):
    storage.client.put_bucket_versioning(
        Bucket=storage.bucket_name, VersioningConfiguration={"Status": status}
    )


def told(storage, name):
    (result,) = probe(storage, [name])
    return [] if result.kept else result.detail.split("; ")


def test_public_access_is_blocked_by_all_four_settings(other):
    other.client.delete_public_access_block(Bucket=other.bucket_name)
    assert told(other, "public access") == [f"{', '.join(BLOCK)} are off"]
    block(other, **dict.fromkeys(BLOCK, True))
    assert told(other, "public access") == []
    block(other, **dict.fromkeys(BLOCK[1:], True))
    assert told(other, "public access") == ["BlockPublicAcls are off"]


def test_versions_are_advised_until_they_are_kept(other):
    assert told(other, "versioning") == ["it is off"]
    keep_versions(other)
    assert told(other, "versioning") == []
    keep_versions(other, "Suspended")
    assert told(other, "versioning") == ["it is off"]


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        (ABORT | EXPIRE, []),
        (ABORT, [VERSIONS]),
        (EXPIRE, [UPLOADS]),
        (ABORT | EXPIRE | {"Status": "Disabled"}, [UPLOADS, VERSIONS]),
        (ABORT | EXPIRE | {"Filter": {"Prefix": "elsewhere/"}}, [UPLOADS, VERSIONS]),
    ],
)
def test_a_lifecycle_is_advised_that_ends_what_nobody_else_does(other, rule, faults):
    keep_versions(other)
    assert told(other, "lifecycle") == [UPLOADS, VERSIONS]
    rule = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": ""}} | rule
    other.client.put_bucket_lifecycle_configuration(
        Bucket=other.bucket_name, LifecycleConfiguration={"Rules": [rule]}
    )
    assert told(other, "lifecycle") == faults


def test_a_bucket_without_versions_needs_no_rule_for_them(other):
    assert told(other, "lifecycle") == [UPLOADS]


def test_each_promise_has_an_id_of_its_own():
    assert sorted(MESSAGES) == sorted(QUICK)
    assert len({name for _, name in MESSAGES.values()}) == len(QUICK)


# The whole


@pytest.mark.needs("privacy")
def test_a_site_as_readme_has_it_is_without_a_warning(other):
    block(other, **dict.fromkeys(BLOCK, True))
    keep_versions(other)
    rule = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": ""}} | ABORT | EXPIRE
    other.client.put_bucket_lifecycle_configuration(
        Bucket=other.bucket_name, LifecycleConfiguration={"Rules": [rule]}
    )
    environ = {
        "APP_ALLOWED_HOSTS": "files.example.com",
        "APP_BUCKET_NAME": other.bucket_name,
        "APP_DEBUG": "false",
        "APP_HSTS_SECONDS": "31536000",
        "APP_PROXY_SSL_HEADER": "X-Forwarded-Proto",
        "APP_SSL_REDIRECT": "true",
    }
    done = manage("check", "--deploy", "--fail-level=INFO", environ=environ)
    text = b"System check identified no issues (2 silenced).\n"
    assert (done.stdout, done.stderr, done.returncode) == (text, b"", 0)


@pytest.mark.parametrize(
    ("host", "mode", "ids"),
    [
        ("db.example.com", "require", ["files.W007"]),
        ("db.example.com", "prefer", ["files.W007"]),
        ("db.example.com", "verify-full", []),
        ("db.example.com", "verify-ca", []),
        ("/var/run/postgresql", "prefer", []),
        ("127.0.0.1", "disable", []),
    ],
)
def test_a_database_that_may_be_anybody_is_told(monkeypatch, host, mode, ids):
    monkeypatch.setitem(connection.settings_dict, "HOST", host)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "sslmode", mode)
    assert [message.id for message in database_is_verified(None)] == ids
