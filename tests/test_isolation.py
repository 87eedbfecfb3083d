"""What a test leaves is gone before the next one, and what it leaves open fails it."""

import threading
from contextlib import suppress

import boto3
import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.storage import default_storage
from django.db import connection

from files.models import File
from project.sandbox import services
from tests import isolation, location

KEYS = [
    "a.txt",
    "/a//b",
    "./c",
    "a/../b",
    " sp+%25&<>",
    "back\\slash",
    "ünï/😀",
    "e\u0301",
    "c\x01\r\n",
]

twice = pytest.mark.parametrize("turn", [1, 2])  # the second one sees what the first one leaves


@twice
def test_the_bucket_is_empty_for_a_test_without_fixtures(turn):
    s3, bucket = boto3.client("s3"), default_storage.bucket_name
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"text")


def test_more_objects_than_a_page_has_are_removed(put, s3, bucket):
    for key in "abcde":
        put(key, b"text")
    events, event = location.client().meta.events, "provide-client-params.s3.ListObjectsV2"
    events.register(event, lambda params, **_: params.update(MaxKeys=2), unique_id="pages")
    isolation._empty(bucket)
    events.unregister(event, unique_id="pages")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@twice
def test_the_table_is_empty_after_what_another_session_has_committed(turn, db):
    assert not File.objects.exists()
    thread = threading.Thread(target=commit_a_row)
    thread.start()
    thread.join()


def commit_a_row():
    File.objects.bulk_create([File(object_key="a")])
    connection.close()


@twice
def test_users_are_gone_and_what_migrate_makes_is_there(turn, transactional_db):
    assert (User.objects.exists(), Permission.objects.exists()) == (False, True)
    User.objects.create_user("left").user_permissions.set(Permission.objects.all())


# What is left open

CONFTEST = """
    import pytest

    @pytest.fixture(scope="session")
    def django_test_environment():
        pass

    @pytest.fixture(scope="session")
    def django_db_setup():
        pass
"""  # what the run around it has made


@pytest.fixture
def failures(pytester, transactional_db):
    """Return what runs a test inside of this one, and returns what fails of it, and why."""

    def failures(text):
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(text)
        found = pytester.inline_run(plugins=[isolation]).getfailures()
        return [(report.when, report.longreprtext) for report in found]

    return failures


UPLOAD = """
    import boto3
    from django.core.files.storage import default_storage

    def test_upload():
        s3, bucket = boto3.client("s3"), default_storage.bucket_name
        s3.create_multipart_upload(Bucket=bucket, Key="big.bin")
"""


def test_a_test_that_leaves_an_upload_open_is_told_its_key(failures, storage):
    told = "The test leaves the multipart upload of 'big.bin' open: complete or abort it."
    assert failures(UPLOAD) == [("teardown", told)]
    assert storage.open_uploads("big.bin") == []


def test_objects_are_removed_where_uploads_cannot_be_listed(own_services, s3, no_waits):
    bucket = "unlistable"  # no other's, as MiniStack keeps the upload for good
    services.make_bucket(s3, bucket)
    with suppress(s3.exceptions.ClientError):
        s3.create_multipart_upload(Bucket=bucket, Key="c\x01")
    s3.put_object(Bucket=bucket, Key="a.txt", Body=b"text")
    isolation._empty(bucket)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


left = []  # open until the tests below close them

THREAD = """
    import threading
    from django.db import connection
    from tests.test_isolation import left

    def leave():
        connection.ensure_connection()
        left.append(connection.connection)
        connection.connection.execute("SELECT 'left'")

    def test_thread(db):
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
"""

PSYCOPG = """
    from django.db import connection
    from tests.test_isolation import left

    def test_psycopg(db):
        left.append(connection.get_new_connection(connection.get_connection_params()))
        left[0].execute("SELECT 'left'")
"""


@pytest.mark.parametrize("text", [THREAD, PSYCOPG], ids=["thread", "psycopg"])
def test_a_test_that_leaves_a_connection_open_is_told_what_it_last_ran(failures, monkeypatch, text):
    monkeypatch.setattr(isolation, "PATIENCE", 0.1)
    told = "The test leaves a database connection open, which last ran \"SELECT 'left'\": close it."
    assert failures(text) == [("teardown", told)]
    assert isolation.other_sessions() == []
    left.pop().close()


CLEAN = """
    import boto3
    from django.core.files.storage import default_storage

    def test_clean():
        boto3.client("s3").head_bucket(Bucket=default_storage.bucket_name)

    def test_nothing():
        pass
"""


def test_cleaning_takes_two_requests_after_a_test_that_touched_s3_and_none_otherwise(failures):
    asked, events = [], location.client().meta.events
    events.register(
        "before-call.s3", lambda model, **_: asked.append(model.name), unique_id="asked"
    )
    assert failures(CLEAN) == []
    events.unregister("before-call.s3", unique_id="asked")
    is_own = not default_storage.location
    made = ["CreateBucket", "PutBucketCors", "DeletePublicAccessBlock"] if is_own else []
    looks = ["ListMultipartUploads", "ListObjectsV2"]
    assert asked == [*made, *looks, *looks]  # at the start, and after the first test
