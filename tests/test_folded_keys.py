"""SeaweedFS takes `a//b` for `a/b`: no file takes the bytes of another one there."""

import base64
import hashlib

import pytest
import urllib3
from django.core.files.base import ContentFile

from files import operations
from files.models import File, Operation
from files.storage import S3Error
from tests import s3_servers

PLAIN, ODD = "a/b.txt", "a//b.txt"
ALIASES = [ODD, "/a/b.txt", "//a/b.txt", "a\\b.txt", "a/\\b.txt"]
MIB = 2**20
REFUSED = "takes the key for another one"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def endpoint():
    with s3_servers.seaweedfs() as environ:
        yield environ["AWS_ENDPOINT_URL_S3"]


@pytest.fixture
def storage(endpoint, monkeypatch):
    """The project's storage, on a bucket of SeaweedFS that is empty before and after the test."""
    from django.core.files.storage import default_storage

    assert default_storage.bucket_name  # which makes what is wrapped
    monkeypatch.setattr(default_storage._wrapped, "endpoint_url", endpoint)
    client, bucket = default_storage.client, default_storage.bucket_name
    if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    yield default_storage
    for key, _stat in list(default_storage.list()):
        client.delete_object(**default_storage._at(key))


@pytest.fixture
def plain(storage):
    """A file by the key that SeaweedFS keeps."""
    return File.objects.create(object_key=ContentFile(b"plain", name=PLAIN))


@pytest.fixture
def alias(plain):
    """The row of another key for the same object, as SQL and the script make it."""
    (file,) = File.objects.bulk_create([File(object_key=ODD)])
    return file


def kept(storage):
    """Return what each object has, by the key that S3 lists."""
    found = {key: storage.open(key).read() for key, _stat in storage.list()}
    assert Operation.objects.count() == 0
    return found


def keys():
    return sorted(map(str, File.objects.all()))


@pytest.mark.parametrize("key", ALIASES)
@pytest.mark.parametrize("size", [4, 9 * MIB])
def test_a_new_file_of_a_folded_key_is_refused_and_leaves_nothing(storage, key, size):
    with pytest.raises(S3Error, match=REFUSED):
        File.objects.create(object_key=ContentFile(bytes(size), name=key))
    assert (kept(storage), keys()) == ({}, [])


@pytest.mark.parametrize("key", ALIASES)
@pytest.mark.parametrize("size", [4, 9 * MIB])
def test_a_new_file_does_not_overwrite_one_of_another_key(storage, plain, key, size):
    with pytest.raises(FileExistsError):
        File.objects.create(object_key=ContentFile(bytes(size), name=key))
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [PLAIN])


@pytest.mark.parametrize("key", ALIASES)
def test_a_row_of_a_folded_key_for_an_object_that_is_there_is_refused(storage, plain, key):
    with pytest.raises(S3Error, match=REFUSED):
        File.objects.create(object_key=key)
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [PLAIN])


@pytest.mark.parametrize("key", ALIASES)
def test_a_rename_to_a_folded_key_is_refused_and_leaves_nothing(storage, key):
    file = File.objects.create(object_key=ContentFile(b"text", name="other.txt"))
    with pytest.raises(S3Error, match=REFUSED):
        file.rename(key)
    assert (kept(storage), keys()) == ({"other.txt": b"text"}, ["other.txt"])


def test_a_rename_does_not_overwrite_the_object_of_another_key(storage, plain):
    file = File.objects.create(object_key=ContentFile(b"text", name="other.txt"))
    with pytest.raises(FileExistsError):
        file.rename(ODD)
    assert kept(storage) == {"other.txt": b"text", PLAIN: b"plain"}


def upload(storage, operation, data):
    """Send the only part, as a browser does; return what finishes the upload."""
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    key, upload_id = operation.object_key, operation.upload_id
    url, header = storage.sign_part(key, upload_id, 1, digest, len(data))
    assert urllib3.request("PUT", url, body=data, headers={header: digest}).status == 200
    return {"digests": [digest], "size": len(data), "part_size": len(data)}


def test_an_upload_in_parts_to_a_folded_key_is_refused_and_leaves_nothing(storage):
    operation = operations.begin_upload(ODD, "text/plain", "somebody")
    sent = upload(storage, operation, b"text")
    with pytest.raises(S3Error, match=REFUSED):
        operations.finish_upload(operation, File(object_key=ODD), **sent)
    assert (kept(storage), keys()) == ({}, [])


def test_an_upload_in_parts_replaces_nothing_by_a_folded_key(storage, plain, alias):
    operation = operations.begin_upload(ODD, "text/plain", "somebody")
    sent = upload(storage, operation, b"text")
    with pytest.raises(FileExistsError):
        operations.finish_upload(operation, alias, **sent)
    operations.end(operation)
    assert kept(storage) == {PLAIN: b"plain"}


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("delete", [File.delete, lambda file: list(operations.purge([file], 1))])
def test_a_deletion_by_a_folded_key_takes_the_row_and_leaves_the_object(
    storage, alias, is_known, delete
):
    if is_known:
        alias.refresh_from_storage()
    delete(alias)
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [PLAIN])


def test_a_replacement_by_a_folded_key_is_refused(storage, alias):
    with pytest.raises(FileExistsError):
        alias.replace(ContentFile(b"new"))
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [ODD, PLAIN])


@pytest.mark.parametrize("is_known", [False, True])
def test_a_rename_of_a_folded_key_gives_the_file_an_object_of_its_own(storage, alias, is_known):
    if is_known:
        alias.refresh_from_storage()
    alias.rename("own.txt")
    assert kept(storage) == {PLAIN: b"plain", "own.txt": b"plain"}
    alias.delete()
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [PLAIN])


def test_a_trashed_file_of_a_folded_key_is_purged_without_the_object(storage, alias):
    alias.trash()
    alias.restore()
    alias.trash()
    alias.delete()
    assert (kept(storage), keys()) == ({PLAIN: b"plain"}, [PLAIN])


def test_the_storage_refuses_and_deletes_nothing_by_a_folded_key(storage, plain):
    etag = storage.stat(PLAIN).etag
    with pytest.raises(S3Error, match=REFUSED):
        storage.replace(ODD, ContentFile(b"new"), etag)
    storage.delete(ODD)
    storage.delete(ODD, etag)
    assert storage.delete_many({ODD: etag}) == {}
    assert kept(storage) == {PLAIN: b"plain"}
    plain.delete()
    with pytest.raises(S3Error, match=REFUSED):
        storage.save(ODD, ContentFile(b"new"))
    assert kept(storage) == {}


def test_a_create_that_was_killed_at_a_folded_key_is_undone(storage):
    operation = Operation.begin(Operation.Kind.CREATE, ODD)
    mark = {"write": operation.mark}
    storage.client.put_object(**storage._at(ODD), Body=b"text", Metadata=mark)
    operations.end(operation)
    assert kept(storage) == {}
