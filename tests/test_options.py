"""Options of django-storages: honoured or refused, never ignored."""

import inspect
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from botocore.config import Config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from storages.backends.s3 import S3Storage

from files.checks import bucket_keeps_promises
from files.models import File
from files.storage import ObjectStorage, S3Error
from files.storage.options import FIXED
from tests import location
from tests.test_storage import KEYS, listed, open_uploads

HONOURED = {
    "bucket_name": "APP_BUCKET_NAME",
    "cloudfront_key": None,
    "cloudfront_key_id": None,
    "custom_domain": None,
    "default_acl": None,
    "endpoint_url": None,
    "location": "",
    "object_parameters": {},
    "querystring_auth": True,
    "querystring_expire": 3600,
    "region_name": None,
    "url_protocol": "https:",
}


def test_every_option_of_django_storages_is_honoured_or_refused():
    known = S3Storage(bucket_name="b").get_default_settings()
    assert set(known) == set(HONOURED) | set(FIXED) - {"config"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_key", "AKIA"),
        ("secret_key", "xyzzy"),
        ("security_token", "xyzzy"),
        ("session_profile", "other"),
        ("file_overwrite", True),
        ("signature_version", "s3"),
        ("addressing_style", "path"),
        ("file_name_charset", "latin-1"),
        ("gzip", True),
        ("gzip_content_types", ("text/css",)),
        ("proxies", {"https": "http://127.0.0.1:9"}),
        ("use_ssl", False),
        ("verify", False),
        ("max_memory_size", 5),
        ("use_threads", False),
        ("transfer_config", object()),
        ("client_config", Config()),
        ("config", Config()),
    ],
)
def test_what_cannot_hold_is_refused_by_its_name(settings, name, value):
    kind = type("Own", (ObjectStorage,), {name: value})
    makers = [lambda: ObjectStorage(**{name: value}), kind]
    for other in FIXED[name][1]:
        setattr(settings, other, value)
        makers.append(ObjectStorage)
        with pytest.raises(ImproperlyConfigured, match=f"does not take {other}="):
            ObjectStorage()
        delattr(settings, other)
    for make in makers[:2]:
        with pytest.raises(ImproperlyConfigured, match=f"does not take {name}=") as raised:
            make()
        assert "xyzzy" not in str(raised.value)


def test_what_holds_anyway_may_be_given():
    held = {name: value for name, (value, *_) in FIXED.items() if name != "config"}
    assert ObjectStorage(bucket_name="b", **held).file_overwrite is False


def test_an_unknown_option_is_refused():
    with pytest.raises(ImproperlyConfigured, match="no_such_option"):
        ObjectStorage(no_such_option=1)


def test_settings_of_django_storages_are_options(settings):
    settings.AWS_STORAGE_BUCKET_NAME = "named"
    settings.AWS_S3_ENDPOINT_URL = "http://127.0.0.1:9"
    settings.AWS_LOCATION = "under/"
    storage = ObjectStorage()
    assert (storage.bucket_name, storage.location) == ("named", "under/")
    assert storage.url("a").startswith("http://127.0.0.1:9/named/under/a?")


def test_a_missing_name_of_the_bucket_is_said_so():
    storage = ObjectStorage(bucket_name="")
    for ask in (
        lambda: storage.open("a"),
        lambda: storage.delete("a"),
        lambda: storage.save("a", ContentFile(b"")),
        lambda: storage.listdir(""),
    ):
        with pytest.raises(ImproperlyConfigured, match="name of the bucket is missing: set APP_BU"):
            ask()


def test_reads_and_writes_go_to_the_bucket_of_the_storage(own_services, storage):
    other = ObjectStorage(bucket_name=f"{storage.bucket_name}-other", region_name="eu-central-1")
    other.client.create_bucket(
        Bucket=other.bucket_name,
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    other.save("a", ContentFile(b"text"))
    assert (other.open("a").read(), listed(storage)) == (b"text", [])
    other.delete("a")
    other.client.delete_bucket(Bucket=other.bucket_name)


@pytest.fixture
def elsewhere(own_services, bucket, settings):
    """Put another bucket into STORAGES."""
    other = ObjectStorage(bucket_name=f"{bucket}-other")
    other.client.create_bucket(
        Bucket=other.bucket_name,
        CreateBucketConfiguration={"LocationConstraint": other.client.meta.region_name},
    )
    backend = {"BACKEND": "files.storage.ObjectStorage"}
    options = {"bucket_name": other.bucket_name, "location": "in/"}
    settings.STORAGES = {**settings.STORAGES, "default": {**backend, "OPTIONS": options}}
    yield other
    for key, _ in list(other.list()):
        other.delete(key)
    other.client.delete_bucket(Bucket=other.bucket_name)


def test_files_are_where_the_storage_is(storage, elsewhere, viewer):
    file = File.objects.create(object_key=ContentFile(b"text", name="a.txt"))
    assert [key for key, stat in elsewhere.list()] == ["in/a.txt"]
    assert (file.read_text(), file.size) == ("text", 4)
    assert b"".join(viewer.get(f"/files/{file.pk}/")) == b"text"
    found = {found.id for found in bucket_keeps_promises(None)}
    assert found >= {"files.W001", "files.I001", "files.I002"}  # its own, with no rules


def test_storages_of_one_place_share_their_client(storage):
    one, other = ObjectStorage(bucket_name="one"), ObjectStorage(bucket_name="other")
    assert one.client is other.client is storage.client
    elsewhere = ObjectStorage(bucket_name="one", region_name="eu-north-1")
    assert (elsewhere.client is one.client, elsewhere.client.meta.region_name) == (
        False,
        "eu-north-1",
    )


# A location in front of every key


@pytest.fixture(params=["in/a folder/", "/ü//../"])
def located(request, storage):
    """A storage with a location in the project's bucket."""
    return location.alike(storage, location=f"{storage.location}{request.param}")


@pytest.mark.parametrize("key", [key for key in KEYS if len(key) < 450])
def test_a_location_stands_in_front_of_each_key_exactly(storage, located, key):
    assert located.save(key, ContentFile(b"text")) == key
    located.copy(key, f"{key}2")
    inside = located.location.removeprefix(storage.location)
    assert [entry["Key"] for entry in listed(storage)] == [
        f"{inside}{key}",
        f"{inside}{key}2",
    ]
    assert [name for name, stat in located.list()] == [key, f"{key}2"]
    assert (located.open(key).read(), located.size(key)) == (b"text", 4)
    located.delete(key, located.stat(key).etag)
    assert (located.exists(key), located.exists(f"{key}2")) == (False, True)


def test_a_location_is_no_part_of_listings_and_uploads(storage, located, put):
    put("outside", b"")
    for key in ("a/b", "c"):
        located.create(key, ContentFile(b""))
    upload_id = located.begin_upload("a/u", "text/plain", "mark")
    assert (located.listdir(""), located.listdir("a")) == ((["a"], ["c"]), ([], ["b"]))
    assert [key for key, stat in located.list("a")] == ["a/b"]
    put(located.location.removeprefix(storage.location), b"")  # as S3's console makes a folder
    assert next(key for key, stat in located.list()) == "a/b"
    assert [found for found, begun in located.open_uploads("a/u")] == [upload_id]
    located.abort_upload("a/u", upload_id)
    assert open_uploads(storage) == []


def test_a_location_counts_towards_the_limit_of_a_key(located):
    left = 1024 - len(located.location.encode())
    assert located.save("x" * left, ContentFile(b"1")) == "x" * left
    assert len(located.save("x" * left, ContentFile(b"2"))) == left
    assert len(located.save("x" * (left + 1), ContentFile(b"3"))) == left
    for ask in (located.exists, located.delete, lambda key: located.create(key, ContentFile(b""))):
        with pytest.raises(S3Error, match="no key of more than 1024 bytes, the location among"):
            ask("x" * (left + 1))


def test_a_location_that_ends_in_no_slash_is_refused(settings):
    with pytest.raises(ImproperlyConfigured, match=r"location='a' .* must end in a slash"):
        ObjectStorage(location="a")
    settings.AWS_LOCATION = "b"
    with pytest.raises(ImproperlyConfigured, match=r"location='b' .* must end in a slash"):
        ObjectStorage()


# What objects are written with


def test_object_parameters_and_acl_go_with_each_write(own_services, storage, s3, bucket):
    given = {"CacheControl": "max-age=60", "ContentType": "text/x-own", "Metadata": {"by": "us"}}
    own = location.alike(storage, object_parameters=given, default_acl="public-read")
    own.save("a", ContentFile(b"text"))
    own.copy("a", "b")
    for key in ("a", "b"):
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["CacheControl"], head["ContentType"]) == ("max-age=60", "text/x-own")
        assert head["Metadata"]["by"] == "us"
        grants = s3.get_object_acl(Bucket=bucket, Key=key)["Grants"]
        assert any(grant["Permission"] == "READ" for grant in grants)


# URLs


@pytest.mark.parametrize("key", [key for key in KEYS if ".." not in key and "./" not in key])
def test_a_url_without_signature_names_the_object(own_services, storage, key):
    public = location.alike(storage, querystring_auth=False, default_acl="public-read")
    public.save(key, ContentFile(b"public"))
    url = public.url(key)
    answer = urllib3.request("GET", url)
    assert (answer.status, answer.data, urlsplit(url).query) == (200, b"public", "")


def test_a_url_lasts_as_long_as_it_is_told(storage):
    for made, expires in [
        (location.alike(storage).url("a"), "3600"),
        (location.alike(storage, querystring_expire=5).url("a"), "5"),
        (location.alike(storage, querystring_expire=5).url("a", expire=7), "7"),
    ]:
        assert parse_qs(urlsplit(made).query)["X-Amz-Expires"] == [expires]


def test_a_url_takes_the_parameters_of_boto3_too(storage):
    given = {"ResponseContentType": "text/plain", "VersionId": "1", "PartNumber": "2"}
    query = parse_qs(urlsplit(location.alike(storage).url("a", given)).query)
    names = ("response-content-type", "versionId", "partNumber")
    assert [query[name] for name in names] == [["text/plain"], ["1"], ["2"]]


def test_a_url_of_a_custom_domain(storage):
    about = {"custom_domain": "cdn.example.com", "location": "in/", "url_protocol": "http:"}
    url = location.alike(storage, **about).url("/a b//ü", {"response-content-type": "text/plain"})
    assert url == "http://cdn.example.com/in//a%20b//%C3%BC?response-content-type=text%2Fplain"


def test_a_url_of_cloudfront_is_signed(storage):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    about = {"custom_domain": "cdn.example.com", "cloudfront_key_id": "K", "cloudfront_key": pem}
    for options, names in [
        (about, ["Expires", "Signature", "Key-Pair-Id"]),
        (about | {"querystring_auth": False}, []),
    ]:
        url = location.alike(storage, **options).url("a", expire=60)
        assert url.startswith(f"https://cdn.example.com/{storage.location}a")
        assert list(parse_qs(urlsplit(url).query)) == names
    end = int(
        parse_qs(urlsplit(location.alike(storage, **about).url("a", expire=60)).query)["Expires"][0]
    )
    assert abs(end - datetime.now(UTC).timestamp() - 60) < 10


def test_our_url_takes_what_django_storages_takes():
    ours, theirs = (inspect.signature(kind.url).parameters for kind in (ObjectStorage, S3Storage))
    assert list(ours) == list(theirs)
