"""`manage.py sync_files`: S3's events by SQS, late, in any order and more than once."""

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from urllib.parse import quote, quote_plus

import boto3
import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.utils import timezone

from files.catalogue import events, owner
from files.models import File, Operation
from tests import leaks
from tests.faults import Kill, KilledError, Steps
from tests.operations import assert_rows_are_true, breaking, create, elsewhere, execute, state
from tests.processes import ROOT, heed_signals, run_command
from tests.tcp_proxy import TCPProxy
from tests.test_readme import README
from tests.test_storage import KEYS
from tests.waiting import until

SECTION = README.split("\n### In step without a walk\n")[1].split("\n## ")[0]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_services")]


@pytest.fixture(scope="module")
def sqs(own_services):
    return boto3.client("sqs")


@pytest.fixture
def queue(sqs, settings, monkeypatch):
    """Make the queue that is followed; what is received is there again at once."""
    monkeypatch.setattr(events, "SHORT", 0)
    url = sqs.create_queue(
        QueueName=f"files-{uuid.uuid4().hex}", Attributes={"VisibilityTimeout": "0"}
    )["QueueUrl"]
    settings.EVENTS_QUEUE_URL = url
    yield url
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def subscribed(sqs, queue, s3, bucket):
    """Let the bucket send its events to the queue, as README says."""
    if sqs.meta.endpoint_url != s3.meta.endpoint_url:
        pytest.skip("S3 and SQS are two servers, of which one does not know the other")
    arn = attributes(sqs, queue, "QueueArn")["QueueArn"]
    policy, events = (
        text.replace("arn:aws:sqs:REGION:ACCOUNT:QUEUE", arn).replace("BUCKET", bucket)
        for text in re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
    )
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    configure = s3.put_bucket_notification_configuration
    configure(Bucket=bucket, NotificationConfiguration=json.loads(events))
    yield
    configure(Bucket=bucket, NotificationConfiguration={})


@pytest.fixture
def send(sqs, queue):
    """Send messages, each a dictionary or a text: `send(record("a.txt"))`."""

    def send(*bodies):
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            sqs.send_message(QueueUrl=queue, MessageBody=text)

    return send


@pytest.fixture
def told(caplog):
    """Return the warnings in the log."""
    return lambda: [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def place(bucket, storage):
    """Return how S3 names the object of a key, in a way of its own to encode it."""

    def place(key, encode=quote_plus, bucket=bucket):
        return {
            "bucket": {"name": bucket},
            "object": {"key": encode(f"{storage.location}{key}")},
        }

    return place


@pytest.fixture
def record(place):
    """Return a message of S3 about these keys."""

    def record(*keys, **options):
        return {"Records": [{"s3": place(key, **options)} for key in keys]}

    return record


def attributes(sqs, queue, *names):
    return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]


def waiting(sqs, queue):
    """Return how many messages there are, received ones among them."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return sum(map(int, attributes(sqs, queue, *names).values()))


run = functools.partial(run_command, "sync_files", "--once", "-v2")


def rows():
    names = ("size", "content_type", "etag", "missing_at")
    return {str(file): tuple(getattr(file, name) for name in names) for file in File.objects.all()}


# What S3 itself sends


def test_the_events_of_each_way_to_write_and_delete_are_followed(
    subscribed, sqs, queue, s3, bucket, put, make_file, storage
):
    make_file("gone")
    put("a/b c+d.txt", b"put", ContentType="text/plain")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "gone"})
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"parts")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    s3.delete_object(Bucket=bucket, Key="gone")
    until(lambda: waiting(sqs, queue) >= 5)
    lines, _, status = run()
    assert (sorted({*lines} - {"= gone"}), status) == (
        ["+ a/b c+d.txt", "+ copy", "+ parts", "- gone"],
        0,
    )
    assert rows()["a/b c+d.txt"][:2] == (3, "text/plain")
    assert waiting(sqs, queue) == 0


@pytest.mark.needs("conditional puts")
def test_our_own_operations_change_nothing(subscribed, transactional_db, sqs, queue):
    for key in ("renamed", "replaced", "trashed", "restored", "deleted"):
        create(key)
    File.objects.get(object_key="renamed").rename("new")
    File.objects.get(object_key="replaced").replace(ContentFile(b"new"))
    for key in ("trashed", "restored", "deleted"):
        File.objects.get(object_key=key).trash()
    File.objects.get(object_key="restored").restore()
    File.objects.get(object_key="deleted").delete()
    before = state()
    until(lambda: waiting(sqs, queue) >= 10)
    lines, _, status = run()
    assert {line[0] for line in lines} == {"="}
    assert (state(), status, waiting(sqs, queue)) == (before, 0, 0)


# What a message says


@pytest.mark.needs("exact keys")
@pytest.mark.parametrize("encode", [quote_plus, quote, lambda key: quote(key, safe="")])
def test_keys_are_exact_however_they_are_encoded(put, send, record, encode):
    for key in KEYS:
        put(key, key.encode())
    send(*(record(key, encode=encode) for key in KEYS))
    assert run()[2] == 0
    assert {str(file): file.read_text() for file in File.objects.all()} == {
        key: key for key in KEYS
    }


WRAPPED = {
    "SNS": lambda place: {
        "Type": "Notification",
        "Message": json.dumps({"Records": [{"s3": place}]}),
    },
    "EventBridge": lambda place: {"detail-type": "Object Created", "detail": place},
}


@pytest.mark.parametrize("by", WRAPPED)
def test_events_by_other_ways_are_followed(put, send, place, by):
    put("a+b%20c", b"text")
    encode = str if by == "EventBridge" else quote_plus
    send(WRAPPED[by](place("a+b%20c", encode=encode)))
    assert run()[::2] == (["+ a+b%20c"], 0)


def test_what_is_none_of_ours_is_deleted_and_changes_nothing(put, send, record, sqs, queue):
    put("a", b"text")
    put(".files/a", b"text")
    send({"Service": "Amazon S3", "Event": "s3:TestEvent"})
    send(record("a", bucket="another"), record(".files/a"), record(""))
    assert run()[::2] == ([], 0)
    assert (rows(), waiting(sqs, queue)) == ({}, 0)


def test_only_keys_at_the_location_are_ours(put, send, record, storage, monkeypatch):
    put("in/a", b"text")
    put("other", b"text")
    send(record("in/a", "other", "in/"))
    monkeypatch.setattr(storage._wrapped, "location", f"{storage.location}in/")
    assert run()[::2] == (["+ a"], 0)


@pytest.mark.parametrize(
    "body",
    [
        *("text", "5", "[]", "{}", '{"Message": "text"}', '{"Records": [{}]}', "[" * 100_000),
        '{"detail": {"bucket": {"name": "a"}, "object": {"key": 5}}}',
    ],
)
def test_a_message_that_is_no_event_stays_and_is_told(put, send, record, told, sqs, queue, body):
    put("a", b"text")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "60"})
    send(body, record("a"))
    lines, summary, status = run()
    assert (lines, status, waiting(sqs, queue)) == (["+ a"], 1, 1)
    (line,) = told()
    assert line.startswith("The message ")
    assert line.endswith(" stays in the queue: it is no event of S3.")
    assert summary.endswith(
        ": 1 row added, 0 updated, 0 marked as missing, 1 message left in the queue.\n"
    )


@pytest.mark.parametrize("key", ["a%00b", "a%ffb"])
def test_a_key_that_no_row_can_hold_is_told_once(put, send, record, told, sqs, queue, key):
    put("a", b"text")
    send(record(key, "a", encode=str))
    assert run()[::2] == (["+ a"], 0)
    (line,) = told()
    assert waiting(sqs, queue) == 0
    assert line.endswith(": none can hold this key.")


# What is done


def test_a_row_gets_all_that_s3_tells(put, send, record, storage):
    put("a.txt", b"text", ContentType="text/x-own", StorageClass="STANDARD_IA")
    send(record("a.txt"))
    run()
    assert_rows_are_true(storage)
    assert File.objects.get().storage_class == "STANDARD_IA"


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (b"theirs", {}),
        (b"text", {"ContentType": "text/x-own"}),
        (b"text", {"StorageClass": "STANDARD_IA"}),
    ],
)
def test_a_row_whose_object_is_another_is_updated(
    make_file, put, send, record, storage, data, about
):
    file = make_file("a", ContentType="text/plain")
    File.objects.update(checksum="SHA256:x", changed_at=timezone.now(), verified_at=timezone.now())
    put("a", data, **about)
    send(record("a"))
    assert run()[::2] == (["* a"], 0)
    assert_rows_are_true(storage)
    now, is_same = File.objects.get(), data == b"text"
    assert (now.pk, now.changed_at, bool(now.checksum)) == (file.pk, None, is_same)
    assert (now.verified_at is not None) == is_same


def test_a_row_without_an_object_is_marked_until_it_is_back(make_file, put, send, record, storage):
    make_file("a")
    storage.delete("a")
    send(record("a"))
    assert run()[::2] == (["- a"], 0)
    since = File.objects.get().missing_at
    send(record("a"))
    assert (run()[0], File.objects.get().missing_at) == (["= a"], since)
    put("a", b"text")
    send(record("a"))
    assert (run()[0], File.objects.get().missing_at) == (["* a"], None)


@pytest.mark.parametrize("meanwhile", ["put", "begin"])
def test_nothing_is_marked_that_is_back_or_in_work_meanwhile(
    transactional_db, make_file, put, send, record, storage, proxy, sqs, queue, meanwhile
):
    make_file("a")
    storage.delete("a")
    owner.claim()
    begin = functools.partial(elsewhere, lambda: Operation.begin("replace", "a"))
    proxy.on_call = begin if meanwhile == "begin" else lambda: put("a", b"text")
    proxy.faults = [None, ("call", 0), None]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "60"})
    send(record("a"))
    assert run()[0] == ["~ a"]
    assert File.objects.get().missing_at is None


def test_the_trash_stays_as_it_is(make_file, put, send, record, storage):
    for key in ("a", "b"):
        make_file(key).trash()
    put("a", b"theirs")
    storage.delete("b")
    before = state()
    send(record("a", "b"))
    assert run()[::2] == (["= a", "= b"], 0)
    assert state() == before


def test_a_key_that_an_operation_names_comes_again_later(
    transactional_db, put, send, record, sqs, queue
):
    put("a", b"text")
    put("b", b"text")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "60"})
    operation = Operation.begin("create", "a")
    send(record("a", "b"))
    assert run()[::2] == (["~ a", "+ b"], 1)
    assert (list(rows()), waiting(sqs, queue)) == (["b"], 1)
    operation.delete()
    send(record("a"))
    assert run()[0] == ["+ a"]


@pytest.fixture
def lay_out(transactional_db, make_file, put, storage):
    """Begin anew: `new` has no row, `other` differs, `gone` has no object, `back` has it again."""

    def lay_out():
        execute("TRUNCATE files, files_operation")
        for key in ("other", "gone", "back"):
            make_file(key)
        File.objects.get(object_key="back").mark_missing(True)
        put("new", b"text")
        put("other", b"theirs")
        storage.delete("gone")

    return lay_out


def are_in_step():
    """Return whether the rows are as they are to be after `lay_out`."""
    found = {str(row): (row.size, row.missing_at is None) for row in File.objects.all()}
    return found == {"new": (4, True), "other": (6, True), "gone": (4, False), "back": (4, True)}


def test_order_and_number_of_the_events_do_not_matter(lay_out, send, record, monkeypatch):
    monkeypatch.setattr(events, "BATCH", 1)
    for order in itertools.permutations(["new", "other", "gone", "back"]):
        lay_out()
        send(*(record(key) for key in (*order, *order[::2])))
        run()
        assert are_in_step(), order


def test_a_key_is_asked_for_once_in_a_batch(make_file, send, record, proxy):
    make_file("a")
    owner.claim()
    proxy.reset()
    send(*[record("a", "a")] * 5)
    assert run()[0] == ["= a"]
    assert [method for method, _ in proxy.requests] == ["GET", "HEAD"]  # of the owner, of a


def test_a_batch_is_one_line_of_the_audit(lay_out, send, record, caplog):
    lay_out()
    send(record("new", "other", "gone"), record("back"))
    caplog.clear()
    run()
    (line,) = [line.facts for line in caplog.records if line.name == "files.audit"]
    found = {name: line[name] for name in ("action", "outcome", "added", "updated", "missing")}
    assert found == {"action": "sync", "outcome": "done", "added": 1, "updated": 2, "missing": 1}


# What breaks


def test_it_may_be_killed_at_any_step(lay_out, send, record, monkeypatch):
    for step in itertools.count(1):
        lay_out()
        send(*(record(key) for key in ("new", "other", "gone", "back")))
        steps = Steps(Kill(step))
        with contextlib.suppress(KilledError, CommandError), steps:
            run("--workers=1")
        run()
        assert are_in_step(), step
        if not steps.fired:
            assert step > 15
            return


def test_what_s3_refuses_stays_and_is_told(make_file, send, record, told, proxy, sqs, queue):
    for key in ("a", "b"):
        make_file(key)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "60"})
    owner.claim()
    proxy.faults = [None, *[("status", 403)] * 2]  # HEAD, and the GET that explains it
    send(record("a"), record("b"))
    lines, _, status = run("--workers=1")
    assert (lines, status, waiting(sqs, queue)) == (["= b"], 1, 1)
    (line,) = told()
    assert line.startswith("An event of a stays in the queue: S3 refuses the object (Forbidden)")


def test_s3_that_fails_keeps_the_messages(
    transactional_db, send, record, proxy, no_waits, told, sqs, queue
):
    owner.claim()
    proxy.faults = [None, *[("status", 503)] * 3]
    send(record("a"))
    with pytest.raises(CommandError, match="S3 fails at") as raised:
        run()
    assert (raised.value.returncode, waiting(sqs, queue)) == (2, 1)
    (line,) = told()
    assert line.startswith("An event of a stays in the queue: S3 fails at")


def test_the_database_out_of_reach_keeps_the_messages(
    transactional_db, put, send, record, sqs, queue
):
    put("a", b"text")
    send(record("a"))
    with (
        breaking("files_operation", OperationalError("server closed the connection")),
        pytest.raises(CommandError, match="The database is out of reach: server closed") as raised,
    ):
        run()
    assert (raised.value.returncode, waiting(sqs, queue)) == (2, 1)
    assert run()[0] == ["+ a"]


QUEUES = {
    "": "There is no queue to follow: set APP_EVENTS_QUEUE_URL",
    "{0}-none": "{0}-none cannot be read: SQS says .*; check APP_EVENTS_QUEUE_URL",
}


@pytest.mark.parametrize("url", QUEUES)
def test_a_queue_that_is_not_there_is_one_sentence(queue, settings, url):
    settings.EVENTS_QUEUE_URL = url.format(queue)
    with pytest.raises(CommandError, match=QUEUES[url].format(queue)) as raised:
        run()
    assert raised.value.returncode == 2


def test_a_bucket_of_another_database_is_refused_in_one_sentence(queue, monkeypatch):
    owner.claim()
    monkeypatch.setitem(connection.settings_dict, "HOST", "another")
    with pytest.raises(CommandError, match="is that of another database") as raised:
        run()
    assert raised.value.returncode == 2


def test_sqs_out_of_reach_is_one_sentence(queue, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    with pytest.raises(CommandError, match=r"SQS is out of reach .*: check the network") as raised:
        run()
    assert raised.value.returncode == 2


# Processes


@pytest.fixture
def start(transactional_db, sqs, queue):
    """Start the command as a process; what it has received is there again after a second."""
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    stack = contextlib.ExitStack()

    def start(**environ):
        own = {"APP_EVENTS_QUEUE_URL": queue, "APP_DB_NAME": connection.settings_dict["NAME"]}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "sync_files", "-v2"],
            cwd=ROOT,
            env=os.environ | own | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )
        watchdog = threading.Timer(60, process.kill)  # a line that never comes fails the test
        watchdog.start()
        for finish in (process.communicate, process.kill, watchdog.cancel):
            stack.callback(finish)
        return process

    with stack:
        yield start


def end(process, number):
    """Send a signal; return what was still to be read, what stderr has, and the status."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    leaks.check(stdout, stderr)
    return stdout.splitlines(), stderr.splitlines(), process.returncode


def test_of_two_at_once_one_ends_the_work_of_the_other_that_was_killed(
    start, put, send, record, sqs, queue
):
    keys = [f"{number:03}" for number in range(100)]
    for key in keys:
        put(key, key.encode())
    first, second = start(), start()
    send(*(record(key) for key in keys * 2))
    assert first.stdout.readline()[0] in "+=~"
    first.kill()
    until(lambda: waiting(sqs, queue) == 0)
    assert [str(file) for file in File.objects.order_by("object_key")] == keys
    assert end(second, signal.SIGTERM)[2] == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_while_it_waits(start, put, send, record, number, status):
    put("a", b"text")
    running = start()
    send(record("a"))
    assert running.stdout.readline() == "+ a\n"
    began = time.monotonic()
    lines, stderr, returned = end(running, number)
    assert (lines, returned) == ([], status)
    assert "1 message: 1 row added, 0 updated, 0 marked as missing." in stderr[-1]
    assert time.monotonic() - began < 10


def test_a_signal_ends_it_after_the_batch_under_way(start, put, send, record, proxy, sqs, queue):
    put("a", b"text")
    owner.claim()
    proxy.faults = [None, ("call", 0)]
    proxy.on_call = lambda: running.send_signal(signal.SIGTERM)
    send(record("a"))
    running = start(AWS_ENDPOINT_URL_S3=f"http://{proxy.host}")
    stdout, _ = running.communicate(timeout=30)
    assert (stdout, running.returncode, waiting(sqs, queue)) == ("+ a\n", 0, 0)


def test_it_goes_on_when_the_database_is_back(start, put, send, record):
    put("a", b"text")
    put("b", b"text")
    place = connection.settings_dict
    with TCPProxy(place["HOST"], int(place["PORT"])) as between:
        running = start(APP_DB_HOST="127.0.0.1", APP_DB_PORT=str(between.port))
        send(record("a"))
        assert running.stdout.readline() == "+ a\n"
        between.mode = "refuse"
        send(record("b"))
        assert any("The database is out of reach" in line for line in running.stderr)
        between.mode = "pass"
        assert running.stdout.readline() == "+ b\n"
        assert end(running, signal.SIGTERM)[2] == 0
